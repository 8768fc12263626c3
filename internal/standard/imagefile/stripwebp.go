package imagefile

import (
	"bytes"
	"encoding/binary"
	"io"
)

// webpPart is a chunk that stays: a piece of the source, or new bytes.
type webpPart struct {
	kind   string
	offset int64
	length int64
	bytes  []byte
}

// webp lists the chunks that stay, then writes them behind a header with the length they come to.
func (s *stripper) webp() error {
	r, size, err := s.at()
	if err != nil {
		return err
	}
	parts, err := webpParts(r, size)
	if err != nil {
		return err
	}
	total := int64(4)
	for _, p := range parts {
		total += 8 + p.length + p.length&1
	}
	if total > 1<<32-2 {
		return damaged(WebP, "more than 4 GiB")
	}
	head := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(total))
	if _, err := s.dst.Write(append(head, "WEBP"...)); err != nil {
		return err
	}
	for _, p := range parts {
		if err := s.webpPart(r, p); err != nil {
			return err
		}
	}
	return nil
}

func (s *stripper) webpPart(r io.ReaderAt, p webpPart) error {
	head := binary.LittleEndian.AppendUint32([]byte(p.kind), uint32(p.length))
	if _, err := s.dst.Write(append(head, p.bytes...)); err != nil {
		return err
	}
	if p.bytes == nil {
		if err := s.copyAt(r, p.offset, p.length); err != nil {
			return err
		}
	}
	if p.length&1 == 0 {
		return nil
	}
	_, err := s.dst.Write([]byte{0})
	return err
}

// webpParts walks the chunks. Each kind that stays may come once, so the list is short however many chunks there are.
func webpParts(r io.ReaderAt, size int64) ([]webpPart, error) {
	var head [sniffLen]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return nil, err
	}
	end := int64(binary.LittleEndian.Uint32(head[4:])) + 8
	if end > size {
		return nil, io.ErrUnexpectedEOF
	}
	seen := map[string]bool{}
	orientation := 1
	var parts []webpPart
	for at := int64(sniffLen); at+8 <= end; {
		if _, err := r.ReadAt(head[:8], at); err != nil {
			return nil, err
		}
		p := webpPart{kind: string(head[:4]), offset: at + 8, length: int64(binary.LittleEndian.Uint32(head[4:]))}
		if p.offset+p.length > end {
			return nil, damaged(WebP, "a chunk is longer than the file says it is")
		}
		at = p.offset + p.length + p.length&1
		switch p.kind {
		case "ANIM", "ANMF":
			return nil, unsupported(WebP, "it is an animation")
		case "VP8X", "ICCP", "ALPH", "VP8 ", "VP8L":
			if seen[p.kind] {
				return nil, damaged(WebP, "two %q chunks", p.kind)
			}
			parts = append(parts, p)
		case "EXIF":
			if p.length == 0 {
				continue
			}
			if !seen[p.kind] {
				orientation = webpOrientation(r, p)
			}
		}
		seen[p.kind] = true
	}
	return webpExtendedPart(r, parts, orientation)
}

func webpOrientation(r io.ReaderAt, p webpPart) int {
	b := make([]byte, min(p.length, maxCollect))
	n, _ := r.ReadAt(b, p.offset) // a short EXIF block has no orientation
	return exifOrientation(bytes.TrimPrefix(b[:n], []byte(exifPrefix)))
}

// webpExtendedPart rewrites the extended header, if there is one, to name the chunks that are left, and adds the orientation.
func webpExtendedPart(r io.ReaderAt, parts []webpPart, orientation int) ([]webpPart, error) {
	if len(parts) == 0 || parts[0].kind != "VP8X" {
		if len(parts) > 1 {
			parts = parts[:1] // a simple file is its one bitstream; other chunks have no meaning in it
		}
		return parts, nil
	}
	if parts[0].length < 10 {
		return nil, damaged(WebP, "its %q chunk is too short", "VP8X")
	}
	b := make([]byte, 10)
	if _, err := r.ReadAt(b, parts[0].offset); err != nil {
		return nil, err
	}
	b[0] &^= webpXMP | webpEXIF
	if orientation != 1 {
		b[0] |= webpEXIF
		body := minimalEXIF(orientation)
		parts = append(parts, webpPart{kind: "EXIF", length: int64(len(body)), bytes: body})
	}
	parts[0] = webpPart{kind: "VP8X", length: int64(len(b)), bytes: b}
	return parts, nil
}
