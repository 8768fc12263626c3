//go:build cgo && turbo

package pixels

/*
#cgo LDFLAGS: -ljpeg
#include <stdlib.h>
#include "turbo.h"
*/
import "C"

import (
	"errors"
	"unsafe"
)

// jpegCodec is what decodes JPEG in this build.
var jpegCodec = "libjpeg-turbo " + C.GoString(C.kenkyo_jpeg_version())

// jpegSize gives the stored size of a JPEG image from its header.
func jpegSize(encoded []byte) (width, height int, err error) {
	var w, h C.int
	var msg [C.KENKYO_JPEG_MESSAGE]C.char
	if C.kenkyo_jpeg_size((*C.uchar)(unsafe.Pointer(unsafe.SliceData(encoded))), C.size_t(len(encoded)), &w, &h, &msg[0]) != 0 {
		return 0, 0, errors.New(C.GoString(&msg[0]))
	}
	return int(w), int(h), nil
}

// jpegDecode decodes a JPEG image reduced by k (1, 2, 4 or 8) into dst, which holds exactly its RGB pixels.
func jpegDecode(encoded []byte, k int, dst []byte) error {
	var msg [C.KENKYO_JPEG_MESSAGE]C.char
	if C.kenkyo_jpeg_decode((*C.uchar)(unsafe.Pointer(unsafe.SliceData(encoded))), C.size_t(len(encoded)), C.int(k),
		(*C.uchar)(unsafe.Pointer(unsafe.SliceData(dst))), C.size_t(len(dst)), &msg[0]) != 0 {
		return errors.New(C.GoString(&msg[0]))
	}
	return nil
}
