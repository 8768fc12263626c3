package imagefile_test

import (
	"bytes"
	"fmt"
	"image"
	"image/png"

	"kenkyo/internal/standard/imagefile"
)

func Example() {
	var original, clean bytes.Buffer
	if err := png.Encode(&original, image.NewGray(image.Rect(0, 0, 64, 48))); err != nil {
		fmt.Println(err)
		return
	}
	if err := imagefile.StripMetadata(&clean, &original); err != nil {
		fmt.Println(err)
		return
	}
	check := imagefile.NewChecker(imagefile.Limits{MaxPixels: 50_000_000})
	if _, err := clean.WriteTo(check); err != nil {
		fmt.Println(err)
		return
	}
	info, err := check.Finish()
	fmt.Println(info.Format, info.Width, info.Height, info.Orientation, err)
	// Output: png 64 48 1 <nil>
}
