// Package httpapi speaks HTTP: the wire contract of the hospital agent, synchronous detection, health and OpenAPI. It turns
// fault kinds into RFC 9457 problem documents and holds no rule of the domain. Multipart bodies are read as a stream, part by
// part: a framework's form parser would spill plaintext images to temporary files.
package httpapi
