package registry

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ParseNames reads the labels an exporter wrote into ONNX metadata as a Python literal: a dict from class index to label,
// {0: 'RBC', 1: "WBC"}, or a list, ['RBC', 'WBC'].
// Out: labels by class index. Errors: the indices are not exactly 0..n-1, two labels are equal, or the text is not such a
// literal. Pure.
func ParseNames(text string) ([]string, error) {
	s := scanner{text: text}
	var names map[int]string
	var err error
	switch s.next() {
	case '{':
		names, err = s.dict()
	case '[':
		names, err = s.list(']')
	case '(':
		names, err = s.list(')')
	default:
		return nil, fmt.Errorf("names: want a dict {0: 'label', …} or a list ['label', …], got %.40q", text)
	}
	if err != nil {
		return nil, fmt.Errorf("names: %w", err)
	}
	if s.skip(); s.pos != len(s.text) {
		return nil, fmt.Errorf("names: unexpected %.20q after the closing bracket", s.text[s.pos:])
	}
	out := make([]string, len(names))
	seen := make(map[string]bool, len(names))
	for i := range out {
		name, ok := names[i]
		if !ok {
			return nil, fmt.Errorf("names: class %d is missing; indices must run from 0 to %d", i, len(names)-1)
		}
		if seen[name] {
			return nil, fmt.Errorf("names: label %q stands twice", name)
		}
		seen[name] = true
		out[i] = name
	}
	if len(out) == 0 {
		return nil, errors.New("names: no labels")
	}
	return out, nil
}

// scanner walks a Python literal. Only what repr() of a dict or list of strings can produce is understood.
type scanner struct {
	text string
	pos  int
}

func (s *scanner) skip() {
	for s.pos < len(s.text) && strings.IndexByte(" \t\r\n", s.text[s.pos]) >= 0 {
		s.pos++
	}
}

// next skips blanks and takes one byte, 0 at the end.
func (s *scanner) next() byte {
	s.skip()
	if s.pos == len(s.text) {
		return 0
	}
	s.pos++
	return s.text[s.pos-1]
}

// peek skips blanks and shows the next byte, 0 at the end.
func (s *scanner) peek() byte {
	s.skip()
	if s.pos == len(s.text) {
		return 0
	}
	return s.text[s.pos]
}

func (s *scanner) dict() (map[int]string, error) {
	out := map[int]string{}
	for {
		if s.peek() == '}' {
			s.pos++
			return out, nil
		}
		key, err := s.key()
		if err != nil {
			return nil, err
		}
		if _, ok := out[key]; ok {
			return nil, fmt.Errorf("class %d stands twice", key)
		}
		if c := s.next(); c != ':' {
			return nil, fmt.Errorf("want ':' after class %d", key)
		}
		if out[key], err = s.str(); err != nil {
			return nil, err
		}
		if done, err := s.comma('}'); done || err != nil {
			return out, err
		}
	}
}

func (s *scanner) list(end byte) (map[int]string, error) {
	out := map[int]string{}
	for {
		if s.peek() == end {
			s.pos++
			return out, nil
		}
		name, err := s.str()
		if err != nil {
			return nil, err
		}
		out[len(out)] = name
		if done, err := s.comma(end); done || err != nil {
			return out, err
		}
	}
}

// comma takes the separator, or the closing bracket and reports that the literal ended.
func (s *scanner) comma(end byte) (done bool, err error) {
	switch s.next() {
	case ',':
		return false, nil
	case end:
		return true, nil
	}
	return false, fmt.Errorf("want ',' or %q at byte %d", end, s.pos)
}

// key reads a class index, bare or quoted (JSON written by other exporters quotes it).
func (s *scanner) key() (int, error) {
	if c := s.peek(); c == '\'' || c == '"' {
		text, err := s.str()
		if err != nil {
			return 0, err
		}
		return parseIndex(text)
	}
	start := s.pos
	for s.pos < len(s.text) && s.text[s.pos] >= '0' && s.text[s.pos] <= '9' {
		s.pos++
	}
	return parseIndex(s.text[start:s.pos])
}

func parseIndex(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n >= maxLabels {
		return 0, fmt.Errorf("class index %.20q is not a number from 0 to %d", text, maxLabels-1)
	}
	return n, nil
}

// str reads a string in either quote with Python's escapes.
func (s *scanner) str() (string, error) {
	quote := s.next()
	if quote != '\'' && quote != '"' {
		return "", fmt.Errorf("want a quoted label at byte %d", s.pos)
	}
	var b strings.Builder
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		s.pos++
		switch c {
		case quote:
			if !utf8.ValidString(b.String()) {
				return "", errors.New("a label is not UTF-8")
			}
			return b.String(), nil
		case '\\':
			if err := s.escape(&b); err != nil {
				return "", err
			}
		case '\n':
			return "", errors.New("a label runs over the end of its line")
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("a label is not closed")
}

// escape reads what follows a backslash. An unknown escape keeps its backslash, as in Python.
func (s *scanner) escape(b *strings.Builder) error {
	if s.pos == len(s.text) {
		return errors.New("a label ends in a backslash")
	}
	c := s.text[s.pos]
	s.pos++
	digits := 0
	switch c {
	case '\\', '\'', '"':
		b.WriteByte(c)
	case 'n':
		b.WriteByte('\n')
	case 't':
		b.WriteByte('\t')
	case 'r':
		b.WriteByte('\r')
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	default:
		b.WriteByte('\\')
		b.WriteByte(c)
	}
	if digits == 0 {
		return nil
	}
	if s.pos+digits > len(s.text) {
		return errors.New("an escape in a label is cut off")
	}
	n, err := strconv.ParseUint(s.text[s.pos:s.pos+digits], 16, 32)
	if err != nil || n > utf8.MaxRune || !utf8.ValidRune(rune(n)) {
		return fmt.Errorf("escape %q in a label is not a character", s.text[s.pos:s.pos+digits])
	}
	s.pos += digits
	b.WriteRune(rune(n))
	return nil
}
