package predict

import (
	"errors"
	"math"
)

// isDistribution reports whether a row of scores is already a distribution of probabilities; what is not is taken for logits.
// The slack covers half-precision sums.
func isDistribution(row []float32) bool {
	const slack = 5e-3
	var sum float64
	for _, v := range row {
		if v < -slack || v > 1+slack {
			return false
		}
		sum += float64(v)
	}
	return math.Abs(sum-1) <= slack
}

// best gives the most probable label of one row and its probability, the first one on equal scores.
// Errors: a row that must be a distribution is none.
func (m *Model) best(row []float32) (label int, probability float64, err error) {
	for i, v := range row {
		if v > row[label] {
			label = i
		}
	}
	top := float64(row[label])
	if !m.logits {
		if !isDistribution(row) {
			return 0, 0, errors.New("the model gave scores that are no probabilities")
		}
		return label, math.Min(math.Max(top, 0), 1), nil
	}
	var sum float64
	for _, v := range row {
		sum += math.Exp(float64(v) - top)
	}
	return label, 1 / sum, nil
}
