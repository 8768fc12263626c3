// Package intake accepts submissions: it streams every image through structural check, digest and seal into the blob store,
// validates the fields, and commits specimen, field images and audit event in one transaction once the bytes are durable.
// It decodes no pixels and holds no image in memory. Accept returns only after fsync and commit.
//
// Data path: Service.Accept → readForm → storeImage (per image part) → Store.Accept.
package intake
