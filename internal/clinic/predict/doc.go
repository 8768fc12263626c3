// Package predict turns one encoded image into findings with a model package: decode, letterbox, run, read the output, suppress
// overlapping boxes, map back to source pixels; or, for crop-vote models, let many crops of a field vote.
//
// It holds no model runtime and no image codec: it declares Session and Decoder, and adapter/ort and adapter/pixels implement
// them. It stores nothing, routes nothing and knows no patient.
//
// Data path: detect calls Model.Predict → Decoder.Decode → prepare (one pass into the input tensor) → Session.Run →
// readBoxes or readScores → lab.Detection.
package predict
