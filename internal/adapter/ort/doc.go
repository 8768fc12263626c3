// Package ort runs ONNX graphs with ONNX Runtime, loaded from a shared library at run time. It implements predict.Session and
// registry.Inspector.
//
// One session takes concurrent calls: each runs on its caller's thread, with its own buffers and one copy of the weights. That
// is where throughput on a CPU comes from; Options.Threads above 1 spreads a single call over more cores instead.
//
// It knows nothing of images, labels or thresholds. Data path: app calls Open once and Runtime.OpenPackage once per model
// version; predict.Model calls Session.Run for each image.
package ort
