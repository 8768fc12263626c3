package store

import (
	"context"

	"kenkyo/internal/lab"
)

// Progress counts the images of an installation by state.
type Progress map[lab.ImageState]int

// Progress counts all images by state.
func (s *Store) Progress(ctx context.Context) (Progress, error) {
	var rows []struct {
		State  string
		Images int
	}
	err := s.read.NewRaw("SELECT state, COUNT(*) AS images FROM field_image GROUP BY state").Scan(ctx, &rows)
	if err != nil {
		return nil, s.wrap("store.Progress", err)
	}
	p := make(Progress, len(rows))
	for _, r := range rows {
		p[lab.ImageState(r.State)] = r.Images
	}
	return p, nil
}

// Requests lists the identifiers of all requests in the order of receipt.
func (s *Store) Requests(ctx context.Context) ([]lab.RequestID, error) {
	var ids []lab.RequestID
	err := s.read.NewRaw("SELECT request_id FROM image_set ORDER BY received_at, request_id").Scan(ctx, &ids)
	return ids, s.wrap("store.Requests", err)
}
