package pixels_test

import (
	"context"
	"encoding/binary"
	"os"
	"testing"

	"kenkyo/internal/adapter/pixels"
	"kenkyo/internal/clinic/predict"
	"kenkyo/internal/fault"
)

// FuzzDecode: any bytes give either an error that blames the image, or a raster whose sizes agree with each other and with the
// reduction that was asked for.
func FuzzDecode(f *testing.F) {
	files, err := os.ReadDir("testdata")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		if !file.IsDir() {
			f.Add(sample(f, file.Name()), uint8(0))
		}
	}
	f.Add(withEXIF(sample(f, "444.jpg"), 6, binary.BigEndian), uint8(20))
	d := pixels.New(pixels.Options{MaxPixels: 1 << 18})
	f.Fuzz(func(t *testing.T, encoded []byte, side uint8) {
		r, err := d.Decode(context.Background(), encoded, int(side), int(side))
		if err != nil {
			if !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.TooLarge) {
				t.Fatalf("got %v (kind %v), want Invalid or TooLarge", err, fault.KindOf(err))
			}
			return
		}
		defer r.Release()
		k := predict.Reduction(r.SourceWidth, r.SourceHeight, int(side), int(side))
		if r.Width != (r.SourceWidth+k-1)/k || r.Height != (r.SourceHeight+k-1)/k || len(r.Pix) != 3*r.Width*r.Height {
			t.Fatalf("%d×%d with %d bytes of %d×%d for side %d, want it reduced by %d", r.Width, r.Height, len(r.Pix), r.SourceWidth, r.SourceHeight, side, k)
		}
	})
}
