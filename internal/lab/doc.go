// Package lab holds the nouns of the laboratory that every other package speaks of: identifiers, specimens, field images,
// findings, assays, reports and the states they pass through. It does nothing: no storage, no transport, no clock.
//
// A field image enters as received, is claimed by an inference process, detected by a model version, put in review or
// decided, and is released in a Report.
package lab
