package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"kenkyo/internal/fault"
)

// Root wraps facility keys. In the embedded default it is a Tink keyset in a file that only the service's user may read.
type Root struct {
	aead tink.AEAD
}

// CreateRoot writes a new root keyset to path with mode 0600 and makes it durable. It never overwrites: fault.Conflict when
// path exists.
func CreateRoot(path string) error {
	const op = "seal.CreateRoot"
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fault.E(op, fault.Internal, err)
	}
	var buf bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&buf)); err != nil {
		return fault.E(op, fault.Internal, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator's own configuration names the file
	if errors.Is(err, fs.ErrExist) {
		return fault.E(op, fault.Conflict, errors.New("root key file exists already"))
	}
	if err != nil {
		return fault.E(op, fault.Unavailable, err)
	}
	_, err = f.Write(buf.Bytes())
	if err := errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(path))); err != nil {
		return fault.E(op, fault.Unavailable, err)
	}
	return nil
}

// OpenRoot reads the root keyset at path. fault.NotFound when the file is missing, fault.Denied when others than its owner may
// read it, fault.Corrupt when it holds no usable keyset.
func OpenRoot(path string) (*Root, error) {
	const op = "seal.OpenRoot"
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.E(op, fault.NotFound, errors.New("root key file is missing; restore it from its backup: without it no stored image opens"))
	}
	if err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fault.E(op, fault.Denied, fmt.Errorf("root key file has mode %04o; run chmod 600 on it", info.Mode().Perm()))
	}
	b, err := os.ReadFile(path) //nolint:gosec // the operator's own configuration names the file
	if err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(b)))
	if err != nil {
		return nil, fault.E(op, fault.Corrupt, errors.New("root key file holds no Tink keyset"))
	}
	a, err := aead.New(h)
	if err != nil {
		return nil, fault.E(op, fault.Corrupt, err)
	}
	return &Root{aead: a}, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // parent folder of a configured file
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
