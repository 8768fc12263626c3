package detect

import (
	"context"
	"log/slog"
	"time"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// examine opens one image, asks the model and routes the answer. false when the image must go back to the queue, because
// something it needs is unavailable or the work was cancelled.
func (w *Worker) examine(ctx context.Context, model string, im *ClaimedImage) (Outcome, bool) {
	out := Outcome{Image: im.ID, Facility: im.Facility, TraceID: im.TraceID}
	log := w.log.With(slog.String("image", string(im.ID)), slog.String("request", string(im.Request)), slog.String("trace", im.TraceID))
	if im.LostLeases > w.opt.MaxLostLeases {
		log.LogAttrs(ctx, slog.LevelError, "image lost its process again; a person gets it without findings", slog.Int("lost_leases", im.LostLeases))
		return out.review(lab.ReviewModelFailed, nil), true
	}
	predictor, err := w.models.Predictor(model)
	if err != nil {
		log.LogAttrs(ctx, slog.LevelError, "model is not loaded", slog.String("model", model), slog.Any("error", err))
		return out, false
	}
	a, err := w.assays.Get(im.Assay)
	if err != nil {
		log.LogAttrs(ctx, slog.LevelError, "assay is no longer in the catalogue", slog.String("assay", im.Assay))
		return out, false
	}
	encoded, err := w.openImage(ctx, im)
	switch {
	case fault.Is(err, fault.NotFound), fault.Is(err, fault.Corrupt):
		log.LogAttrs(ctx, slog.LevelError, "stored image is missing or not authentic", slog.Any("error", err))
		return out.reject(lab.RejectCorrupt), true
	case err != nil:
		log.LogAttrs(ctx, slog.LevelWarn, "stored image is unavailable; it will be tried again", slog.Any("error", err))
		return out, false
	}
	start := time.Now()
	det, err := predictor.Predict(ctx, encoded, im.PixelSizeUM, func(label string) float64 { return a.ThresholdFor(label).Discard })
	switch {
	case ctx.Err() != nil:
		return out, false
	case fault.Is(err, fault.Invalid):
		return out.reject(lab.RejectUnreadable), true
	case fault.Is(err, fault.TooLarge):
		return out.reject(lab.RejectTooLarge), true
	case fault.Is(err, fault.Unavailable):
		log.LogAttrs(ctx, slog.LevelWarn, "model version was taken out of use; the image will be tried again", slog.Any("error", err))
		return out, false
	case err != nil:
		log.LogAttrs(ctx, slog.LevelError, "model failed; a person gets the image without findings", slog.String("model", model), slog.Any("error", err))
		return out.review(lab.ReviewModelFailed, nil), true
	}
	w.observer.Detected(model, time.Since(start))
	if r := w.router.Route(a, det.Findings); r.NeedsReview {
		return out.review(r.Reason, &det), true
	}
	out.State, out.Detection = lab.StateDecided, &det
	return out, true
}

// openImage gives the plaintext of an image. fault.NotFound or Corrupt when it is lost for good, Unavailable when it may come back.
func (w *Worker) openImage(ctx context.Context, im *ClaimedImage) ([]byte, error) {
	fac, err := w.ring.Facility(ctx, im.Facility)
	if err != nil {
		// The facility's keys not opening concerns every image of the facility: that is an operator's problem, not the image's.
		return nil, fault.E("detect.openImage", fault.Unavailable, err)
	}
	specimen, err := fac.OpenSpecimenKey(im.SpecimenMAC, im.SpecimenKey)
	if err != nil {
		return nil, err
	}
	key, err := specimen.UnwrapImageKey(im.ID, im.WrappedKey)
	if err != nil {
		return nil, err
	}
	r, err := w.blobs.Open(ctx, w.opt.BlobKey(im.ID))
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	return key.OpenImage(r, im.Facility, im.ID, im.Bytes)
}

func (o Outcome) review(reason lab.ReviewReason, det *lab.Detection) Outcome {
	o.State, o.Review, o.Detection = lab.StateInReview, reason, det
	return o
}

func (o Outcome) reject(reason lab.RejectReason) Outcome {
	o.State, o.Reject = lab.StateRejected, reason
	return o
}
