package imagefile

import (
	"bytes"
	"testing"
)

// FuzzChecker holds that chunking does not matter, that memory is bounded, and that what is accepted has a size.
func FuzzChecker(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.data, uint16(3))
	}
	f.Add(file(f, "arithmetic.jpg"), uint16(1))
	f.Fuzz(func(t *testing.T, data []byte, cut uint16) {
		limits := Limits{MaxPixels: 1 << 20}
		want, wantErr := check(data, limits, whole)
		got, gotErr := check(data, limits, func() int { return int(cut) + 1 })
		if (wantErr == nil) != (gotErr == nil) || wantErr != nil && wantErr.Error() != gotErr.Error() {
			t.Fatalf("whole: %v; in pieces of %d: %v", wantErr, int(cut)+1, gotErr)
		}
		if wantErr != nil {
			return
		}
		if got != want {
			t.Fatalf("whole: %+v; in pieces of %d: %+v", want, int(cut)+1, got)
		}
		if want.Width <= 0 || want.Height <= 0 || want.Width*want.Height > 1<<20 || want.Orientation < 1 || want.Orientation > 8 {
			t.Fatalf("accepted with %+v", want)
		}
		if Sniff(data) != want.Format {
			t.Fatalf("Sniff says %q, Checker %q", Sniff(data), want.Format)
		}
	})
}

// FuzzStrip holds that the result is an image of the same kind, size and orientation, that stripping is idempotent, and that a
// JPEG or BMP the Checker accepts is one StripMetadata can read.
func FuzzStrip(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before, checkErr := check(data, Limits{}, whole)
		var out bytes.Buffer
		if err := StripMetadata(&out, bytes.NewReader(data)); err != nil {
			if checkErr == nil && (before.Format == JPEG || before.Format == BMP) {
				t.Fatalf("accepted as %+v, but: %v", before, err)
			}
			return
		}
		after, err := check(out.Bytes(), Limits{}, whole)
		if err != nil {
			t.Fatalf("the result is refused: %v", err)
		}
		if checkErr == nil {
			before.Bytes = after.Bytes
			if before != after {
				t.Fatalf("before %+v, after %+v", before, after)
			}
		}
		var again bytes.Buffer
		if err := StripMetadata(&again, bytes.NewReader(out.Bytes())); err != nil || !bytes.Equal(again.Bytes(), out.Bytes()) {
			t.Fatalf("stripping again: %v, %d bytes became %d", err, out.Len(), again.Len())
		}
	})
}
