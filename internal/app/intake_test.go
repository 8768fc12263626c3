package app_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"hash/crc32"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"kenkyo/internal/app"
)

// largePNG streams a structurally whole PNG of n bytes of pixel data, a recognisable pattern, without holding it. At half of the
// data it calls atHalf.
func largePNG(n int, pattern []byte, atHalf func()) io.Reader {
	r, w := io.Pipe()
	go func() {
		var head bytes.Buffer
		head.WriteString("\x89PNG\r\n\x1a\n")
		ihdr := []byte("IHDR\x00\x00\x10\x00\x00\x00\x10\x00\x08\x02\x00\x00\x00") // 4096 × 4096 px
		_ = binary.Write(&head, binary.BigEndian, uint32(13))
		head.Write(ihdr)
		_ = binary.Write(&head, binary.BigEndian, crc32.ChecksumIEEE(ihdr))
		_ = binary.Write(&head, binary.BigEndian, uint32(n)) //nolint:gosec // a few MB
		head.WriteString("IDAT")
		_, _ = w.Write(head.Bytes())
		crc := crc32.NewIEEE()
		_, _ = crc.Write([]byte("IDAT"))
		for sent := 0; sent < n; sent += len(pattern) {
			if sent == n/2/len(pattern)*len(pattern) {
				atHalf()
			}
			_, _ = crc.Write(pattern)
			_, _ = w.Write(pattern)
		}
		var tail bytes.Buffer
		_ = binary.Write(&tail, binary.BigEndian, crc.Sum32())
		tail.WriteString("\x00\x00\x00\x00IEND\xae\x42\x60\x82")
		_, _ = w.Write(tail.Bytes())
		_ = w.Close()
	}()
	return r
}

// uploadLarge sends a large image as a stream.
func (s *site) uploadLarge(token string, size int, pattern []byte, atHalf func()) {
	s.t.Helper()
	head := "--b\r\nContent-Disposition: form-data; name=\"specimen_id\"\r\n\r\nS\r\n--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n"
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+"/api/v1/images",
		io.MultiReader(strings.NewReader(head), largePNG(size, pattern, atHalf), strings.NewReader("\r\n--b--\r\n")))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	s.do(req, http.StatusOK, nil)
}

const largeSize = 24 << 20

func TestNoPlaintextOnDiskDuringUpload(t *testing.T) {
	t.Parallel()
	s := newSite(t, withRoles(app.RoleAPI))
	token, _ := s.device(s.facility("one"))
	pattern := bytes.Repeat([]byte("PLAINTEXT OF A PATIENT'S IMAGE. "), 1024)
	written := false
	s.uploadLarge(token, largeSize, pattern, func() {
		<-time.After(200 * time.Millisecond) // let the platform write what it has
		temps, err := filepath.Glob(filepath.Join(s.in.Config.Data, "blobs", "tmp", "*"))
		written = err == nil && len(temps) == 1
		if file := clearText(pattern[:64], s.in.Config.Data, os.TempDir()); file != "" {
			t.Errorf("%s holds the image in clear at half of the upload", file)
		}
	})
	if !written {
		t.Error("at half of the upload nothing was written: it was held in memory")
	}
	if file := clearText(pattern[:64], s.in.Config.Data, os.TempDir()); file != "" {
		t.Errorf("%s holds the image in clear after the upload", file)
	}
}

// Memory does not grow by an image's size. Not parallel: it counts the allocations of the whole process.
func TestUploadIsStreamed(t *testing.T) {
	s := newSite(t, withRoles(app.RoleAPI))
	token, _ := s.device(s.facility("one"))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s.uploadLarge(token, largeSize, bytes.Repeat([]byte{7}, 32<<10), func() {})
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > largeSize/4 {
		t.Errorf("an upload of %d MB allocated %d MB in all, client included", largeSize>>20, grown>>20)
	}
}

// clearText gives a file below the folders, written in the last minute, that holds the needle.
func clearText(needle []byte, folders ...string) string {
	found := ""
	for _, folder := range folders {
		_ = filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
			if err != nil || found != "" || !e.Type().IsRegular() {
				return nil //nolint:nilerr // other programs' folders come and go
			}
			info, err := e.Info()
			if err != nil || time.Since(info.ModTime()) > time.Minute || info.Size() > 2*largeSize {
				return nil //nolint:nilerr // gone meanwhile
			}
			if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, needle) && !strings.HasSuffix(path, ".test") {
				found = path
			}
			return nil
		})
	}
	return found
}

// What was made durable for a submission that never was is deleted after an hour, and nothing else.
func TestSweep(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, _ := s.device(s.facility("one"))
	s.submit(token, specimen("S"), image("a.png", smallPNG(t, 1)))
	s.await(token, "", 1)
	orphan, err := s.in.Blobs.Create(t.Context(), "image/fld_orphan")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := orphan.Write([]byte("(sealed)")); err != nil {
		t.Fatal(err)
	}
	if err := orphan.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := s.in.Sweep(t.Context(), time.Now().Add(-time.Hour)); err != nil || n != 0 {
		t.Errorf("within the hour: got %d deleted, %v, want none", n, err)
	}
	if n, err := s.in.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil || n != 1 {
		t.Errorf("after it: got %d deleted, %v, want the one without an image", n, err)
	}
	if files := s.blobFiles(); len(files) != 1 {
		t.Errorf("got %d blobs left, want the image's", len(files))
	}
	s.clean()
}

func TestServesTLS(t *testing.T) {
	t.Parallel()
	cert, key, pool := selfSigned(t)
	s := newSite(t, func(c *app.Config) { c.TLSCert, c.TLSKey = cert, key })
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
	}}
	get := func(c *tls.Config) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(s.url, "http:", "https:", 1)+"/readyz", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if c != nil {
			return (&http.Client{Transport: &http.Transport{TLSClientConfig: c}}).Do(req)
		}
		return client.Do(req)
	}
	resp, err := get(nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		t.Errorf("got %d over HTTP/%d, want 200 over HTTP/2", resp.StatusCode, resp.ProtoMajor)
	}
	old := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // that it is refused is the point
	if resp, err := get(old); err == nil {
		_ = resp.Body.Close()
		t.Error("TLS 1.1 was accepted")
	}
}

func selfSigned(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	if err := os.WriteFile(certFile, certPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, keyPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, pool
}
