// Package seal keeps images and patient fields unreadable on disk, by envelope encryption with Tink.
//
// Four levels of keys, each wrapped by the one above: the root key (a file or a KMS), one keyset per facility, one key per
// specimen, one key per image. Destroying a specimen's wrapped key erases all its images and fields (crypto-shredding);
// rotating a level re-wraps the level below and never touches an image. Associated data binds every ciphertext to its
// facility and to what it is, so that a stored value moved elsewhere does not open.
//
// The package does not store anything: stores keep the wrapped keys, blob stores the sealed bytes.
package seal
