package detect

import (
	"context"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// Now answers at once and stores nothing: no image, no finding, no report. It uses the same models, thresholds and policy as the
// Worker. Safe for concurrent use.
type Now struct {
	models Models
	assays Catalogue
	router Router
	slots  chan struct{}
}

// Catalogue also finds the model of an assay and condition.
type Catalogue interface {
	Assays
	// Route gives the model name; fault.Invalid names the valid conditions.
	Route(a *lab.Assay, condition string) (string, error)
}

// NewNow gives a service that runs at most parallel predictions at once; further callers wait.
func NewNow(models Models, assays Catalogue, router Router, parallel int) *Now {
	return &Now{models: models, assays: assays, router: router, slots: make(chan struct{}, parallel)}
}

// Seen is the answer for one image.
type Seen struct {
	Detection lab.Detection
	Routing   lab.Routing
}

// Detect gives the findings in one encoded image for an assay and condition. Errors: Invalid for an unknown assay or condition or
// an unreadable image, TooLarge for too many pixels, Unavailable when this process has no version of the model.
func (n *Now) Detect(ctx context.Context, assay, condition string, encoded []byte, pixelSizeUM float64) (*Seen, error) {
	const op = "detect.Now"
	a, err := n.assays.Get(assay)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	name, err := n.assays.Route(a, condition)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	p, err := n.models.Predictor(name)
	if err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	select {
	case n.slots <- struct{}{}:
		defer func() { <-n.slots }()
	case <-ctx.Done():
		return nil, fault.E(op, fault.Unavailable, ctx.Err())
	}
	det, err := p.Predict(ctx, encoded, pixelSizeUM, func(label string) float64 { return a.ThresholdFor(label).Discard })
	if err != nil {
		if fault.Is(err, fault.Invalid) {
			return nil, fault.E(op, fault.Invalid, err, fault.Field("image"))
		}
		return nil, fault.E(op, fault.Internal, err)
	}
	return &Seen{Detection: det, Routing: n.router.Route(a, det.Findings)}, nil
}
