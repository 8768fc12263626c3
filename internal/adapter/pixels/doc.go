// Package pixels decodes still images to RGB for prediction, and draws findings on them. It implements predict.Decoder.
//
// JPEG is decoded by libjpeg-turbo where the program is built with cgo and `-tags turbo`, by the standard library otherwise; PNG by
// the standard library; BMP, TIFF and WebP by golang.org/x/image. Only the first picture of a file is read. Every colour model ends
// as 8-bit RGB: grey is repeated, 16 bits are cut to 8, inks are mixed, transparency is laid on white, the colour of an empty
// microscope field. Embedded colour profiles are not applied, as they were not in training.
//
// An image that ends early or whose pixel data is damaged is an error: a grey stripe must never be read as a clear field. It
// stores nothing and applies no policy. Data path: predict.Model calls Decoder.Decode once per image.
package pixels
