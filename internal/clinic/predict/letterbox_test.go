package predict

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"kenkyo/internal/lab"
	"kenkyo/internal/mlops/registry"
)

// generated is a picture of hashed bytes, the same as in testdata/letterbox.py.
func generated(width, height int) *Raster {
	pix := make([]byte, 3*width*height)
	for i := range pix {
		pix[i] = byte(uint32(i) * 2654435761 >> 24)
	}
	return NewRaster(pix, width, height, width, height, nil)
}

// bytesInput keeps pixel values as they are, so that results can be read as bytes.
func bytesInput(width, height int, letterbox bool) registry.Input {
	return registry.Input{
		Width: width, Height: height, Colour: registry.ColourRGB, Scale: 1, Std: [3]float64{1, 1, 1}, Letterbox: letterbox, Pad: 114,
	}
}

// prepared runs prepare on a whole raster.
func prepared(r *Raster, in registry.Input) ([]float32, frame) {
	f := fit(r.SourceWidth, r.SourceHeight, in.Width, in.Height, in.Letterbox)
	dst := make([]float32, 3*in.Width*in.Height)
	for i := range dst {
		dst[i] = float32(math.NaN()) // whatever prepare leaves out will not compare equal
	}
	prepare(dst, r, window{width: r.Width, height: r.Height}, f, newNormaliser(in))
	return dst, f
}

// TestPrepareEqualsOpenCV: the resized bytes are those of cv2.resize(INTER_LINEAR), every one of them.
func TestPrepareEqualsOpenCV(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/letterbox.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		OpenCV string `json:"opencv"`
		Cases  []struct {
			Width       int    `json:"width"`
			Height      int    `json:"height"`
			Factor      int    `json:"factor"`
			InputWidth  int    `json:"input_width"`
			InputHeight int    `json:"input_height"`
			Letterbox   bool   `json:"letterbox"`
			SHA256      string `json:"sha256"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	for _, c := range golden.Cases {
		r := generated((c.Width+c.Factor-1)/c.Factor, (c.Height+c.Factor-1)/c.Factor)
		r.SourceWidth, r.SourceHeight = c.Width, c.Height
		dst, _ := prepared(r, bytesInput(c.InputWidth, c.InputHeight, c.Letterbox))
		area := c.InputWidth * c.InputHeight
		rgb := make([]byte, 3*area)
		for i := range area {
			for ch := range 3 {
				rgb[3*i+ch] = byte(dst[ch*area+i])
			}
		}
		if sum := sha256.Sum256(rgb); hex.EncodeToString(sum[:]) != c.SHA256 {
			t.Errorf("%d×%d (÷%d) into %d×%d letterbox=%v: SHA-256 %x, want OpenCV %s's %s",
				c.Width, c.Height, c.Factor, c.InputWidth, c.InputHeight, c.Letterbox, sum, golden.OpenCV, c.SHA256)
		}
	}
}

// reference computes one input pixel straight from the definition, in real numbers.
func reference(r *Raster, w window, f frame, x, y, ch int) float64 {
	x, y = x-f.left, y-f.top
	if x < 0 || y < 0 || x >= f.newWidth || y >= f.newHeight {
		return 114
	}
	sx := (float64(x)+0.5)*float64(w.width)/float64(f.newWidth) - 0.5
	sy := (float64(y)+0.5)*float64(w.height)/float64(f.newHeight) - 0.5
	at := func(x, y float64) float64 {
		px, py := clamp(int(x), 0, w.width-1)+w.x, clamp(int(y), 0, w.height-1)+w.y
		return float64(r.Pix[3*(py*r.Width+px)+ch])
	}
	x0, y0 := math.Floor(sx), math.Floor(sy)
	tx, ty := sx-x0, sy-y0
	return (at(x0, y0)*(1-tx)+at(x0+1, y0)*tx)*(1-ty) + (at(x0, y0+1)*(1-tx)+at(x0+1, y0+1)*tx)*ty
}

// TestPrepareEqualsReference: within one grey level of the definition, on windows, too, and in the manifest's colour and scale.
func TestPrepareEqualsReference(t *testing.T) {
	t.Parallel()
	r := generated(101, 77)
	in := registry.Input{
		Width: 40, Height: 48, Colour: registry.ColourBGR, Scale: 1.0 / 255, Mean: [3]float64{0.4, 0.5, 0.6}, Std: [3]float64{0.2, 0.3, 0.4},
		Letterbox: true, Pad: 114,
	}
	n := newNormaliser(in)
	for _, w := range []window{{width: 101, height: 77}, {x: 1, y: 76, width: 100, height: 1}, {x: 30, y: 20, width: 33, height: 33}, {x: 100, y: 0, width: 1, height: 77}} {
		f := fit(w.width, w.height, in.Width, in.Height, true)
		dst := make([]float32, 3*in.Width*in.Height)
		prepare(dst, r, w, f, n)
		for y := range in.Height {
			for x := range in.Width {
				for plane, ch := range []int{2, 1, 0} {
					got := (float64(dst[plane*in.Width*in.Height+y*in.Width+x])*in.Std[plane] + in.Mean[plane]) * 255
					if want := reference(r, w, f, x, y, ch); math.Abs(got-want) > 1 {
						t.Fatalf("window %+v: plane %d at (%d,%d) = %.3f, want %.3f ± 1", w, plane, x, y, got, want)
					}
				}
			}
		}
	}
}

func TestFit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		w, h, inW, inH                 int
		newWidth, newHeight, left, top int
	}{
		{640, 480, 416, 416, 416, 312, 0, 52},
		{480, 640, 416, 416, 312, 416, 52, 0},
		{1280, 720, 640, 640, 640, 360, 0, 140},
		{416, 416, 416, 416, 416, 416, 0, 0},
		{100, 99, 64, 64, 64, 63, 0, 0},        // (64−63)/2−0.1 = 0.4
		{100, 97, 64, 64, 64, 62, 0, 1},        // 0.9
		{1000, 1, 64, 64, 64, 1, 0, 31},        // never thinner than a pixel
		{833, 417, 416, 416, 416, 208, 0, 104}, // 208.25
		{2, 1, 5, 5, 5, 2, 0, 1},               // 2.5 rounds to even; (5−2)/2−0.1 = 1.4
	} {
		f := fit(tc.w, tc.h, tc.inW, tc.inH, true)
		got := [4]int{f.newWidth, f.newHeight, f.left, f.top}
		if want := [4]int{tc.newWidth, tc.newHeight, tc.left, tc.top}; got != want {
			t.Errorf("fit(%d×%d into %d×%d) = %v, want %v", tc.w, tc.h, tc.inW, tc.inH, got, want)
		}
	}
}

func TestReduction(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ w, h, minW, minH, want int }{
		{640, 480, 416, 416, 1},
		{832, 480, 416, 416, 2},
		{831, 480, 416, 416, 1},
		{480, 832, 416, 416, 2},
		{1664, 10, 416, 416, 4},
		{3327, 3000, 416, 416, 4},
		{3328, 3000, 416, 416, 8},
		{40000, 10, 416, 416, 8},
		{5000, 5000, 0, 0, 1},
		{5000, 5000, 640, 0, 1},
	} {
		if got := Reduction(tc.w, tc.h, tc.minW, tc.minH); got != tc.want {
			t.Errorf("Reduction(%d×%d for %d×%d) = %d, want %d", tc.w, tc.h, tc.minW, tc.minH, got, tc.want)
		}
	}
}

// FuzzBoxRoundTrip: a box of the source, drawn into the input, comes back within 1 px and inside the image.
func FuzzBoxRoundTrip(f *testing.F) {
	f.Add(640, 480, 416, 416, true, 10.0, 20.0, 30.0, 40.0)
	f.Add(1, 1, 640, 640, true, 0.0, 0.0, 1.0, 1.0)
	f.Add(30000, 7, 320, 640, false, 29000.0, 1.0, 1000.0, 5.0)
	f.Fuzz(func(t *testing.T, w, h, inW, inH int, letterbox bool, x, y, bw, bh float64) {
		if w < 1 || h < 1 || w > 65535 || h > 65535 || inW < 1 || inH < 1 || inW > 8192 || inH > 8192 {
			t.Skip("no size that an image or an input can have")
		}
		if !(x >= 0 && y >= 0 && bw > 0 && bh > 0 && x+bw <= float64(w) && y+bh <= float64(h)) {
			t.Skip("the box does not lie in the image")
		}
		fr := fit(w, h, inW, inH, letterbox)
		sx, sy := float64(fr.newWidth)/float64(w), float64(fr.newHeight)/float64(h)
		k := candidate{
			x1: float32(x*sx) + float32(fr.left), y1: float32(y*sy) + float32(fr.top),
			x2: float32((x+bw)*sx) + float32(fr.left), y2: float32((y+bh)*sy) + float32(fr.top),
		}
		got, ok := fr.toBox(k)
		want := lab.Box{X: x, Y: y, W: bw, H: bh}
		if !ok {
			if bw > 1 && bh > 1 {
				t.Fatalf("%+v of %d×%d in %d×%d: nothing came back", want, w, h, inW, inH)
			}
			return
		}
		for i, d := range []float64{got.X - x, got.Y - y, got.X + got.W - x - bw, got.Y + got.H - y - bh} {
			if math.Abs(d) > 1 {
				t.Errorf("%+v of %d×%d in %d×%d: edge %d came back %.3f px off: %+v", want, w, h, inW, inH, i, d, got)
			}
		}
		if got.X < 0 || got.Y < 0 || got.X+got.W > float64(w)+1e-9 || got.Y+got.H > float64(h)+1e-9 {
			t.Errorf("%+v leaves the %d×%d image", got, w, h)
		}
	})
}

func BenchmarkPrepare(b *testing.B) {
	for _, c := range []struct{ w, h, in int }{{640, 480, 416}, {1280, 720, 640}, {640, 360, 640}, {192, 192, 96}} {
		b.Run(fmt.Sprintf("%dx%d_to_%d", c.w, c.h, c.in), func(b *testing.B) {
			r := generated(c.w, c.h)
			in := bytesInput(c.in, c.in, true)
			f, n := fit(c.w, c.h, c.in, c.in, true), newNormaliser(in)
			dst := make([]float32, 3*c.in*c.in)
			b.ReportAllocs()
			for b.Loop() {
				prepare(dst, r, window{width: c.w, height: c.h}, f, n)
			}
		})
	}
}
