package pixels

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"slices"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// palette holds the colours of Okabe and Ito (2008), which people of every colour vision tell apart, without the yellow that is
// lost on a bright field. The label is written beside each box: colour is never the only sign.
var palette = []color.RGBA{
	{0xD5, 0x5E, 0x00, 0xFF}, // vermilion
	{0x00, 0x72, 0xB2, 0xFF}, // blue
	{0x00, 0x9E, 0x73, 0xFF}, // bluish green
	{0xCC, 0x79, 0xA7, 0xFF}, // reddish purple
	{0xE6, 0x9F, 0x00, 0xFF}, // orange
	{0x56, 0xB4, 0xE9, 0xFF}, // sky blue
	{0x00, 0x00, 0x00, 0xFF},
}

// Annotate draws findings on an image: a frame for each box with its label and confidence above it; findings without a box are
// written at the upper left.
// In: an encoded image, findings in its source pixels, and all labels of the model, by whose places the colours are chosen so that
// a label looks the same on every image. Out: a PNG of the image, upright, at full size.
// Errors: those of Decode. Pure.
func (d *Decoder) Annotate(ctx context.Context, encoded []byte, findings []lab.Finding, labels []string) ([]byte, error) {
	const op = "pixels.Annotate"
	r, err := d.Decode(ctx, encoded, 0, 0)
	if err != nil {
		return nil, err
	}
	defer r.Release()
	img := image.NewRGBA(image.Rect(0, 0, r.Width, r.Height))
	for i := range r.Width * r.Height {
		copy(img.Pix[4*i:4*i+3], r.Pix[3*i:3*i+3])
		img.Pix[4*i+3] = 255
	}
	colours := coloursOf(findings, labels)
	thick := max(1, min(r.Width, r.Height)/300)
	line := 2
	for _, f := range findings {
		text := fmt.Sprintf("%s %.2f", f.Label, f.Confidence)
		if f.Box == nil {
			line += caption(img, 2, line, text, colours[f.Label])
			continue
		}
		box := pixelBox(*f.Box, img.Bounds())
		frame(img, box, thick, colours[f.Label])
		caption(img, box.Min.X, box.Min.Y-captionHeight, text, colours[f.Label])
	}
	var out bytes.Buffer
	enc := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := enc.Encode(&out, img); err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	return out.Bytes(), nil
}

// coloursOf gives each label a colour by its place among the model's labels; labels that are not among them follow in the order of
// the alphabet.
func coloursOf(findings []lab.Finding, labels []string) map[string]color.RGBA {
	var others []string
	for _, f := range findings {
		if !slices.Contains(labels, f.Label) {
			others = append(others, f.Label)
		}
	}
	slices.Sort(others)
	out := make(map[string]color.RGBA)
	for i, l := range slices.Concat(labels, slices.Compact(others)) {
		out[l] = palette[i%len(palette)]
	}
	return out
}

// pixelBox rounds a box outwards to whole pixels of the image; numbers that are none give an empty box.
func pixelBox(b lab.Box, bounds image.Rectangle) image.Rectangle {
	for _, v := range []float64{b.X, b.Y, b.W, b.H} {
		if math.IsNaN(v) || math.Abs(v) > 1<<30 {
			return image.Rectangle{}
		}
	}
	return image.Rect(int(math.Floor(b.X)), int(math.Floor(b.Y)), int(math.Ceil(b.X+b.W)), int(math.Ceil(b.Y+b.H))).Intersect(bounds)
}

// frame draws the inside edge of a rectangle.
func frame(img *image.RGBA, r image.Rectangle, thick int, c color.RGBA) {
	src := image.NewUniform(c)
	for _, side := range []image.Rectangle{
		{r.Min, image.Pt(r.Max.X, r.Min.Y+thick)},
		{image.Pt(r.Min.X, r.Max.Y-thick), r.Max},
		{r.Min, image.Pt(r.Min.X+thick, r.Max.Y)},
		{image.Pt(r.Max.X-thick, r.Min.Y), r.Max},
	} {
		draw.Draw(img, side.Intersect(r), src, image.Point{}, draw.Src)
	}
}

// captionHeight is the height of one line of text with its ground, in px.
const captionHeight = 15

// caption writes white text on the colour, kept inside the image, and gives its height.
func caption(img *image.RGBA, x, y int, text string, c color.RGBA) int {
	face := basicfont.Face7x13
	width := font.MeasureString(face, text).Ceil() + 4
	b := img.Bounds()
	x, y = max(0, min(x, b.Max.X-width)), max(0, min(y, b.Max.Y-captionHeight))
	draw.Draw(img, image.Rect(x, y, x+width, y+captionHeight).Intersect(b), image.NewUniform(c), image.Point{}, draw.Src)
	drawer := font.Drawer{Dst: img, Src: image.White, Face: face, Dot: fixed.P(x+2, y+face.Ascent+1)}
	drawer.DrawString(text)
	return captionHeight
}
