package predict

import (
	"context"
	"math"

	"kenkyo/internal/lab"
	"kenkyo/internal/mlops/registry"
)

// cropBatch is how many crops run at once: enough to spread the cost of a call, few enough to keep the tensor in cache.
const cropBatch = 16

// splitmix64 is the generator of crop positions (Steele, Lea & Flood 2014), the same in training and here.
type splitmix64 uint64

func (s *splitmix64) next() uint64 {
	*s += 0x9E3779B97F4A7C15
	z := uint64(*s)
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

// cropSide gives the side of a crop in source pixels: by calibration where both it and the crop's physical size are known, else
// the manifest's, and never more than the image has.
func cropSide(c *registry.CropVote, pixelSizeUM float64, width, height int) int {
	side := c.CropPx
	if pixelSizeUM > 0 && c.CropUM > 0 { // false for NaN, too
		side = int(math.Min(math.Round(c.CropUM/pixelSizeUM), 1<<20))
	}
	return clamp(side, 1, min(width, height))
}

// cropWindows places the crops.
func cropWindows(c *registry.CropVote, side, width, height int) []window {
	rng := splitmix64(c.Seed)
	out := make([]window, c.Crops)
	for i := range out {
		x := rng.next() % uint64(width-side+1)                           //nolint:gosec // G115: side ≤ width
		y := rng.next() % uint64(height-side+1)                          //nolint:gosec // G115: side ≤ height
		out[i] = window{x: int(x), y: int(y), width: side, height: side} //nolint:gosec // G115: below the image's side
	}
	return out
}

// vote runs every crop and counts what each is confident of.
func (m *Model) vote(ctx context.Context, r *Raster, side int, tm *Timings) (votes []int, err error) {
	in := m.pkg.Input
	wins := cropWindows(m.pkg.CropVote, side, r.Width, r.Height)
	f := fit(side, side, in.Width, in.Height, in.Letterbox)
	buf := m.inputs.get()
	defer m.inputs.put(buf)
	votes = make([]int, len(m.labels))
	per := 3 * in.Width * in.Height
	for len(wins) > 0 {
		n := min(cropBatch, len(wins))
		tm.start()
		for i, w := range wins[:n] {
			prepare((*buf)[i*per:(i+1)*per], r, w, f, m.norm)
		}
		tm.stop(&tm.Prepare)
		if err := m.voteBatch(ctx, n, (*buf)[:n*per], votes, tm); err != nil {
			return nil, err
		}
		wins = wins[n:]
	}
	return votes, nil
}

// voteBatch runs one batch of prepared crops and adds their votes.
func (m *Model) voteBatch(ctx context.Context, n int, in []float32, votes []int, tm *Timings) error {
	outs, err := m.run(ctx, n, in, tm)
	if err != nil {
		return err
	}
	defer releaseAll(outs)
	c := len(m.labels)
	if err := checkTensor(outs[0], int64(n), int64(c)); err != nil {
		return err
	}
	for i := range n {
		label, p, err := m.best(outs[0].Data[i*c : (i+1)*c])
		if err != nil {
			return err
		}
		if p >= m.pkg.CropVote.VoteThreshold {
			votes[label]++
		}
	}
	return nil
}

// decide turns votes into the field's one finding.
func (m *Model) decide(votes []int) lab.Finding {
	c := m.pkg.CropVote
	background, all, winner := 0, 0, -1
	for i, n := range votes {
		all += n
		if m.labels[i] == c.Background {
			background = n
			continue
		}
		if winner < 0 || n > votes[winner] { //nolint:gosec // G602: winner is an index met before
			winner = i
		}
	}
	foreground := all - background
	if winner < 0 || foreground == 0 || float64(foreground) < c.MinForegroundShare*float64(c.Crops) {
		out := lab.Finding{Label: c.Background}
		if all > 0 {
			out.Confidence = float64(background) / float64(all)
		}
		return out
	}
	return lab.Finding{Label: m.labels[winner], Confidence: float64(votes[winner]) / float64(foreground)}
}
