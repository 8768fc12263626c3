package imagefile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// jpeg copies what decoding needs, segment by segment, and ends at EOI.
func (s *stripper) jpeg() error {
	r, w := bufio.NewReaderSize(s, 32<<10), bufio.NewWriterSize(s.dst, 32<<10)
	if _, err := r.Discard(2); err != nil {
		return err
	}
	if _, err := w.Write([]byte{0xFF, mSOI}); err != nil {
		return err
	}
	exif := false
	kind, err := nextMarker(r)
	for err == nil && kind != mEOI {
		var body []byte
		if body, err = jpegSegment(r, kind); err != nil {
			break
		}
		if err = writeSegment(w, kind, keepSegment(kind, body, &exif)); err != nil {
			break
		}
		if kind == mSOS {
			exif = true // later blocks are not read as this image's
			kind, err = copyScan(w, r)
		} else {
			kind, err = nextMarker(r)
		}
	}
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte{0xFF, mEOI}); err != nil {
		return err
	}
	return w.Flush()
}

// nextMarker reads 0xFF, any fill, and the marker's second byte.
func nextMarker(r *bufio.Reader) (byte, error) {
	b, err := r.ReadByte()
	if err != nil {
		return 0, err
	}
	if b != 0xFF {
		return 0, damaged(JPEG, "0x%02X where a marker was expected", b)
	}
	return afterFF(r)
}

func jpegSegment(r *bufio.Reader, kind byte) ([]byte, error) {
	if kind < mSOF0 || mRST0 <= kind && kind <= mSOI {
		return nil, damaged(JPEG, "unexpected marker 0xFF%02X", kind)
	}
	if err := jpegProcess(kind); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(size[:])) - 2
	if length < 0 {
		return nil, damaged(JPEG, "a segment of impossible length")
	}
	body := make([]byte, length)
	_, err := io.ReadFull(r, body)
	return body, err
}

const (
	jfifLength  = 14 // "JFIF\0", version, units, densities, size of a thumbnail
	adobeLength = 12 // "Adobe", version, two flags, colour transform
)

// keepSegment gives what stays of a segment: nil drops it. What is not known to be needed for decoding is dropped.
func keepSegment(kind byte, body []byte, exif *bool) []byte {
	switch kind {
	case mSOF0, mSOF1, mSOF2, mDHT, mDQT, mDRI, mSOS, mDNL:
		return body
	case mAPP0:
		if len(body) < jfifLength || string(body[:5]) != "JFIF\x00" {
			return nil // a JFXX thumbnail, or a vendor's own block
		}
		body = body[:jfifLength]
		body[12], body[13] = 0, 0 // and no thumbnail
		return body
	case mAPP1:
		tiff, ok := bytes.CutPrefix(body, []byte(exifPrefix))
		if !ok || *exif {
			return nil
		}
		*exif = true
		if o := exifOrientation(tiff[:min(len(tiff), maxCollect-len(exifPrefix))]); o != 1 {
			return append([]byte(exifPrefix), minimalEXIF(o)...)
		}
	case mAPP2:
		if bytes.HasPrefix(body, []byte("ICC_PROFILE\x00")) {
			return body
		}
	case mAPP14:
		if len(body) >= adobeLength && string(body[:5]) == "Adobe" {
			return body[:adobeLength]
		}
	}
	return nil
}

func writeSegment(w *bufio.Writer, kind byte, body []byte) error {
	if body == nil {
		return nil
	}
	head := []byte{0xFF, kind, 0, 0}
	binary.BigEndian.PutUint16(head[2:], uint16(len(body)+2))
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err := w.Write(body)
	return err
}

// copyScan copies entropy-coded data and gives the marker that ends it.
func copyScan(w *bufio.Writer, r *bufio.Reader) (byte, error) {
	for {
		chunk, err := r.ReadSlice(0xFF)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return 0, err
		}
		data := chunk
		if err == nil {
			data = chunk[:len(chunk)-1]
		}
		if _, err := w.Write(data); err != nil {
			return 0, err
		}
		if err != nil {
			continue
		}
		kind, err := afterFF(r)
		if err != nil {
			return 0, err
		}
		if kind != 0 && (kind < mRST0 || kind > mRST7) {
			return kind, nil
		}
		if _, err := w.Write([]byte{0xFF, kind}); err != nil {
			return 0, err
		}
	}
}

// afterFF gives the byte after 0xFF and any fill.
func afterFF(r *bufio.Reader) (byte, error) {
	for {
		b, err := r.ReadByte()
		if err != nil || b != 0xFF {
			return b, err
		}
	}
}
