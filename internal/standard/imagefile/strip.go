package imagefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"kenkyo/internal/fault"
)

// StripMetadata copies an image from src to dst without what it says about people, places, times and devices, and leaves the
// compressed pixels byte for byte as they are.
//
// Removed: EXIF with maker notes, GPS and thumbnails; XMP; IPTC and Photoshop blocks; comments and text; PNG times; animation
// frames; TIFF fields other than those that describe the pixels, and TIFF pages after the first; whatever follows the image.
// Kept: the orientation, in a new EXIF block that holds nothing else, when it is not upright; colour profiles (ICC) of JPEG, PNG,
// TIFF and WebP, because the colour of a stain is part of the finding – a profile names the device it was made for, and its text
// cannot be taken out alone; resolution. A colour profile inside a BMP lies behind the pixels and is dropped.
//
// JPEG, PNG and BMP need constant memory. WebP and TIFF are read twice: an src that is an io.ReaderAt and io.Seeker (an
// *os.File, a *bytes.Reader) is read in place, any other is held in memory.
// Errors: fault.Invalid for a file that this package cannot parse to its end, with the Checker's rules; dst then holds a part that
// must be thrown away. Errors of src and dst are passed on, wrapped.
func StripMetadata(dst io.Writer, src io.Reader) error {
	head := make([]byte, sniffLen)
	n, err := io.ReadFull(src, head)
	if n == 0 && errors.Is(err, io.EOF) {
		return invalid(errors.New("the image is empty"), "")
	}
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("imagefile: %w", err)
	}
	format := Sniff(head[:n])
	check := NewChecker(Limits{})
	s := &stripper{format: format, head: head[:n], src: src, dst: io.MultiWriter(check, dst)}
	switch format {
	case JPEG:
		err = s.jpeg()
	case PNG:
		err = s.png()
	case BMP:
		err = s.bmp()
	case WebP:
		err = s.webp()
	case TIFF:
		err = s.tiff()
	default:
		return invalid(errUnknown, "")
	}
	if err != nil {
		return s.explain(err)
	}
	// What was written is judged by the same rules as what will be received.
	if _, err := check.Finish(); err != nil {
		return err
	}
	return nil
}

type stripper struct {
	format Format
	head   []byte // bytes taken from src to tell the format, not yet consumed
	src    io.Reader
	dst    io.Writer
}

// explain turns a source that ends too early into a truncated image; any other failure is passed on.
func (s *stripper) explain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return truncated(s.format)
	}
	if fault.Is(err, fault.Invalid) {
		return err
	}
	return fmt.Errorf("imagefile: %w", err)
}

// Read gives the bytes of the image from its first.
func (s *stripper) Read(p []byte) (int, error) {
	if len(s.head) > 0 {
		n := copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	return s.src.Read(p)
}

// at gives random access to the whole image, and its length.
func (s *stripper) at() (io.ReaderAt, int64, error) {
	type file interface {
		io.ReaderAt
		io.Seeker
	}
	if f, ok := s.src.(file); ok {
		now, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, 0, err
		}
		end, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return nil, 0, err
		}
		first := now - int64(len(s.head))
		return io.NewSectionReader(f, first, end-first), end - first, nil
	}
	whole, err := io.ReadAll(s)
	if err != nil {
		return nil, 0, err
	}
	return bytesAt(whole), int64(len(whole)), nil
}

// bytesAt is an io.ReaderAt over memory.
type bytesAt []byte

func (b bytesAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// copyAt copies n bytes at off of the image.
func (s *stripper) copyAt(r io.ReaderAt, off, n int64) error {
	_, err := io.CopyN(s.dst, io.NewSectionReader(r, off, n), n)
	return err
}

// minimalEXIF is an EXIF block whose only field is the orientation.
func minimalEXIF(orientation int) []byte {
	b := []byte("MM\x00*\x00\x00\x00\x08\x00\x01")
	b = binary.BigEndian.AppendUint16(b, tagOrientation)
	b = binary.BigEndian.AppendUint16(b, tiffShort)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = append(b, 0, byte(orientation), 0, 0)
	return append(b, 0, 0, 0, 0) // no directory follows
}
