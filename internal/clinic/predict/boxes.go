package predict

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"kenkyo/internal/lab"
	"kenkyo/internal/mlops/registry"
)

// maxCandidates bounds the boxes that enter suppression: a threshold near zero would otherwise make its cost quadratic in all of
// the model's candidates.
const maxCandidates = 30_000

// scoreSlack is how far above 1 a score may lie by rounding before it is taken for a model without its final sigmoid.
const scoreSlack = 0.01

// candidate is one box in input pixels.
type candidate struct {
	x1, y1, x2, y2 float32
	score          float32
	label          int
}

// readBoxes turns a detector's output for one image into findings in source pixels, best first.
// In: the tensor, the image's frame, and for each label the score below which a finding is dropped.
// Errors: the output is not what the manifest's layout promises. Pure.
func (m *Model) readBoxes(t Tensor, f frame, floors []float64) ([]lab.Finding, error) {
	c := int64(len(m.labels))
	var found []candidate
	var err error
	if m.pkg.Output.Layout == registry.LayoutYOLOv5 {
		if err = checkTensor(t, 1, -1, 5+c); err == nil {
			found, err = candidatesV5(t, floors)
		}
	} else {
		if err = checkTensor(t, 1, 4+c, -1); err == nil {
			found, err = candidatesV8(t, floors)
		}
	}
	if err != nil {
		return nil, err
	}
	kept := suppress(found, m.pkg.NMS.IoU, m.pkg.NMS.MaxDetections)
	out := make([]lab.Finding, 0, len(kept))
	for _, k := range kept {
		if box, ok := f.toBox(k); ok {
			out = append(out, lab.Finding{Label: m.labels[k.label], Confidence: math.Min(float64(k.score), 1), Box: &box})
		}
	}
	return out, nil
}

// toBox maps a candidate to source pixels and clips it to the image; false when nothing of it lies inside.
func (f frame) toBox(k candidate) (lab.Box, bool) {
	x1 := math.Max(f.toSourceX(float64(k.x1)), 0)
	y1 := math.Max(f.toSourceY(float64(k.y1)), 0)
	x2 := math.Min(f.toSourceX(float64(k.x2)), float64(f.sourceWidth))
	y2 := math.Min(f.toSourceY(float64(k.y2)), float64(f.sourceHeight))
	return lab.Box{X: x1, Y: y1, W: x2 - x1, H: y2 - y1}, x2 > x1 && y2 > y1
}

// candidatesV5 reads [1,N,5+C]: rows of cx, cy, w, h, objectness and label scores; a row's score is objectness × best label.
func candidatesV5(t Tensor, floors []float64) ([]candidate, error) {
	width := 5 + len(floors)
	lowest := float32(slices.Min(floors))
	var out []candidate
	for at := 0; at+width <= len(t.Data); at += width {
		row := t.Data[at : at+width]
		if row[4] < lowest {
			continue // no label score above 1 can lift it over any floor
		}
		best, label := row[5], 0
		for i, s := range row[6:] {
			if s > best {
				best, label = s, i+1
			}
		}
		var err error
		if out, err = appendCandidate(out, row[0], row[1], row[2], row[3], row[4]*best, label, floors); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// candidatesV8 reads [1,4+C,N]: columns of cx, cy, w, h and label scores.
func candidatesV8(t Tensor, floors []float64) ([]candidate, error) {
	n := int(t.Shape[2])
	scores := t.Data[4*n:]
	lowest := float32(slices.Min(floors))
	var out []candidate
	// Label by label down the memory; a column is looked at in full when its score passes and no earlier label is better.
	for label := range floors {
		for i, s := range scores[label*n : (label+1)*n] {
			if s < lowest || !isBest(scores, n, i, label, s) {
				continue
			}
			var err error
			if out, err = appendCandidate(out, t.Data[i], t.Data[n+i], t.Data[2*n+i], t.Data[3*n+i], s, label, floors); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// isBest reports whether label has the highest score of column i, the first one on equal scores.
func isBest(scores []float32, n, i, label int, s float32) bool {
	for other := 0; other*n < len(scores); other++ {
		o := scores[other*n+i]
		if o > s || (o == s && other < label) {
			return false
		}
	}
	return true
}

// appendCandidate adds a box that reaches its label's floor and has an area.
func appendCandidate(out []candidate, cx, cy, w, h, score float32, label int, floors []float64) ([]candidate, error) {
	if score > 1+scoreSlack {
		return nil, fmt.Errorf("the model gave the score %v, above 1: its export lacks the final sigmoid", score)
	}
	if float64(score) < floors[label] || w <= 0 || h <= 0 {
		return out, nil
	}
	return append(out, candidate{x1: cx - w/2, y1: cy - h/2, x2: cx + w/2, y2: cy + h/2, score: score, label: label}), nil
}

// suppress keeps, best first, every box that overlaps no better box of its own label by more than iou, at most limit of them.
// Equal scores are ordered by label and position so that the same input always gives the same output.
func suppress(boxes []candidate, iou float64, limit int) []candidate {
	slices.SortFunc(boxes, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.label, b.label), cmp.Compare(a.x1, b.x1), cmp.Compare(a.y1, b.y1),
			cmp.Compare(a.x2, b.x2), cmp.Compare(a.y2, b.y2))
	})
	boxes = boxes[:min(len(boxes), maxCandidates)]
	var kept []candidate
	for _, b := range boxes {
		if len(kept) == limit {
			break
		}
		if !slices.ContainsFunc(kept, func(k candidate) bool { return k.label == b.label && overlap(k, b) > iou }) {
			kept = append(kept, b)
		}
	}
	return kept
}

// overlap is the intersection over union of two boxes.
func overlap(a, b candidate) float64 {
	w := float64(min(a.x2, b.x2)) - float64(max(a.x1, b.x1))
	h := float64(min(a.y2, b.y2)) - float64(max(a.y1, b.y1))
	if w <= 0 || h <= 0 {
		return 0
	}
	inter := w * h
	return inter / (area(a) + area(b) - inter)
}

func area(a candidate) float64 {
	return (float64(a.x2) - float64(a.x1)) * (float64(a.y2) - float64(a.y1))
}
