// Package registry keeps model packages: a folder with model.yaml (the Manifest), the weights, and usually a golden image with
// the findings it must give. It parses and checks manifests, infers one for a bare ONNX export, and stores packages under
// <dir>/<name>/<digest12>/ so that a version, once added, never changes.
//
// It runs no model: what it must know of the graph it asks an Inspector, and whether a package works it asks a Check. It holds
// no life-cycle state (candidate, active, …) and no network access.
//
// Data path: `kenkyo model add` calls Registry.Add; detection calls Registry.Get once per model version and hands the Package to
// predict.New.
package registry
