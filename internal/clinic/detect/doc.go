// Package detect runs models over accepted images: it claims images in batches per model, opens their seal, asks the model,
// routes by the assay's review policy and completes each claim under its fence. It decodes nothing itself and writes no SQL.
//
// Data path: Worker.loop → Worker.runClaim → Worker.examine (per image) → Store.Complete.
//
// An image leaves here decided, in review or rejected, or goes back to received when something it needs is unavailable.
package detect
