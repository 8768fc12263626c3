package pixels_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"testing"

	"kenkyo/internal/adapter/pixels"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

func TestAnnotate(t *testing.T) {
	t.Parallel()
	findings := []lab.Finding{
		{Label: "RBC", Confidence: 0.91, Box: &lab.Box{X: 60, Y: 50, W: 40, H: 30}},
		{Label: "WBC", Confidence: 0.5, Box: &lab.Box{X: -10, Y: 150, W: 500, H: 500}},
		{Label: "field", Confidence: 1},
	}
	out, err := pixels.New(pixels.Options{}).Annotate(context.Background(), photograph(t, 200, 160, 90), findings, nil)
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	if img.Bounds() != image.Rect(0, 0, 200, 160) {
		t.Fatalf("bounds %v, want 200×160", img.Bounds())
	}
	for _, p := range []image.Point{{60, 60}, {99, 60}, {80, 50}, {80, 79}} { // the four sides of the first box
		if got := color.RGBAModel.Convert(img.At(p.X, p.Y)); got != (color.RGBA{0xD5, 0x5E, 0x00, 0xFF}) {
			t.Errorf("pixel %v is %v, want vermilion", p, got)
		}
	}
	if _, err := pixels.New(pixels.Options{}).Annotate(context.Background(), []byte("junk"), nil, nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("Annotate(junk) gave %v, want Invalid", err)
	}
	// Boxes that no detector gives must not reach the drawing.
	for _, v := range []float64{math.NaN(), math.Inf(1), -1e300} {
		odd := []lab.Finding{{Label: "x", Box: &lab.Box{X: v, Y: v, W: v, H: v}}}
		if _, err := pixels.New(pixels.Options{}).Annotate(context.Background(), photograph(t, 20, 10, 90), odd, nil); err != nil {
			t.Errorf("Annotate with a box of %v: %v", v, err)
		}
	}
}

// A label keeps its colour whatever else is on the image.
func TestAnnotateColoursFollowTheModel(t *testing.T) {
	t.Parallel()
	labels := []string{"RBC", "WBC", "Platelets"}
	wbc := lab.Finding{Label: "WBC", Confidence: 0.9, Box: &lab.Box{X: 20, Y: 60, W: 40, H: 40}}
	platelet := lab.Finding{Label: "Platelets", Confidence: 0.9, Box: &lab.Box{X: 120, Y: 60, W: 40, H: 40}}
	colour := func(findings ...lab.Finding) string {
		out, err := pixels.New(pixels.Options{}).Annotate(context.Background(), photograph(t, 200, 160, 90), findings, labels)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(img.At(20, 80)) // the left edge of the WBC's frame
	}
	if alone, beside := colour(wbc), colour(platelet, wbc); alone != beside {
		t.Errorf("a WBC is drawn in %s alone and in %s beside a platelet", alone, beside)
	}
}
