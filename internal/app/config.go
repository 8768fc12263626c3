package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"kenkyo/internal/clinic/assay"

	"kenkyo/internal/fault"
)

// Roles of a process.
const (
	RoleAPI       = "api"       // answers HTTP
	RoleInference = "inference" // claims images and runs models
)

// Config is everything that an operator decides. Secrets are given by file path only. Every field can be set in the YAML file
// under its yaml name and in the environment under its env name; the environment wins.
type Config struct {
	// Data is the folder of the embedded installation: database, blobs, models, root key. Created with mode 0700.
	Data string `yaml:"data" env:"KENKYO_DATA_DIR" doc:"folder of the embedded installation: database, blobs, models, root key"`
	// Listen is the address of the HTTP server.
	Listen string `yaml:"listen" env:"KENKYO_LISTEN" doc:"address of the HTTP server; put TLS in front of it, or set tls_cert and tls_key"`
	// TLSCert and TLSKey are PEM files; both empty for plain HTTP.
	TLSCert string `yaml:"tls_cert" env:"KENKYO_TLS_CERT" doc:"PEM file of the certificate chain; empty for plain HTTP"`
	TLSKey  string `yaml:"tls_key" env:"KENKYO_TLS_KEY" doc:"PEM file of the private key; empty for plain HTTP"`
	// Roles of this process: api, inference.
	Roles []string `yaml:"roles" env:"KENKYO_ROLES" doc:"what this process does: api, inference"`
	// Database URL; empty for sqlite in Data.
	Database string `yaml:"database" env:"KENKYO_DATABASE" doc:"database URL, sqlite:<file>; empty for kenkyo.db in data"`
	// RootKey is the file of the root keyset; empty for root.key in Data.
	RootKey string `yaml:"root_key" env:"KENKYO_ROOT_KEY" doc:"file of the root keyset, mode 0600; empty for root.key in data"`
	// Assays is a folder of YAML files that add to the shipped catalogue; empty for assays in Data, if it exists.
	Assays string `yaml:"assays" env:"KENKYO_ASSAYS" doc:"folder of assay and vocabulary files that add to the shipped ones; empty for assays in data"`
	// ONNXRuntime is the shared library; empty to look in the usual places.
	ONNXRuntime string `yaml:"onnx_runtime" env:"KENKYO_ORT_LIB" doc:"ONNX Runtime shared library; empty to look in the usual places"`
	// Workers is how many images are detected at once; 0 for one a core.
	Workers int `yaml:"workers" env:"KENKYO_WORKERS" doc:"images detected at once; 0 for one a core"`
	// Batch is how many images one claim takes.
	Batch int `yaml:"batch" env:"KENKYO_BATCH" doc:"images one claim takes"`
	// Lease is how long a claim stands without a heartbeat.
	Lease time.Duration `yaml:"lease" env:"KENKYO_LEASE" doc:"how long a claim of images stands without a heartbeat"`
	// MaxBodyMiB is the largest upload.
	MaxBodyMiB int64 `yaml:"max_body_mib" env:"KENKYO_MAX_BODY_MIB" doc:"largest upload, MiB"`
	// MaxImageMiB is the largest image.
	MaxImageMiB int64 `yaml:"max_image_mib" env:"KENKYO_MAX_IMAGE_MIB" doc:"largest image, MiB"`
	// MaxMegapixels is the most pixels of an image.
	MaxMegapixels int64 `yaml:"max_megapixels" env:"KENKYO_MAX_MEGAPIXELS" doc:"most pixels of an image, millions"`
	// MaxUploads is how many uploads are read at once; more are refused with 503.
	MaxUploads int `yaml:"max_uploads" env:"KENKYO_MAX_UPLOADS" doc:"uploads read at once; more are refused with 503"`
	// Drain is how long a stopping process waits for requests under way.
	Drain time.Duration `yaml:"drain" env:"KENKYO_DRAIN" doc:"how long a stopping process waits for requests under way"`
	// LogFormat is json or text.
	LogFormat string `yaml:"log_format" env:"KENKYO_LOG_FORMAT" doc:"json or text"`
}

// Default is the embedded installation of one machine.
func Default() Config {
	return Config{
		Data: "kenkyo-data", Listen: "127.0.0.1:8080", Roles: []string{RoleAPI, RoleInference},
		Batch: 4, Lease: 30 * time.Second, MaxBodyMiB: 64, MaxImageMiB: 32, MaxMegapixels: 100, MaxUploads: 256,
		Drain: 20 * time.Second, LogFormat: "json",
	}
}

// LoadConfig reads the file over the defaults, then the environment. path "" reads no file. fault.Invalid names an unknown key or a
// value out of range.
func LoadConfig(path string, getenv func(string) string) (Config, error) {
	const op = "app.LoadConfig"
	c := Default()
	if path != "" {
		b, err := os.ReadFile(path) //nolint:gosec // the operator names the file
		if err != nil {
			return c, fault.E(op, fault.Invalid, err)
		}
		if err := yaml.UnmarshalWithOptions(b, &c, yaml.Strict()); err != nil {
			return c, fault.E(op, fault.Invalid, fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, false)))
		}
	}
	if err := c.fromEnv(getenv); err != nil {
		return c, fault.E(op, fault.Invalid, err)
	}
	return c, c.Validate()
}

// Validate holds every field against its rule.
func (c *Config) Validate() error {
	var errs []error
	need := func(ok bool, text string) {
		if !ok {
			errs = append(errs, errors.New(text))
		}
	}
	need(c.Data != "", "data: must name a folder")
	need(len(c.Roles) > 0, "roles: name at least one of api, inference")
	for _, r := range c.Roles {
		need(r == RoleAPI || r == RoleInference, fmt.Sprintf("roles: %q is not api or inference", r))
	}
	need((c.TLSCert == "") == (c.TLSKey == ""), "tls_cert and tls_key: set both or none")
	need(c.Workers >= 0, "workers: must not be negative")
	need(c.Batch >= 1, "batch: must be at least 1")
	need(c.Lease >= time.Second, "lease: must be at least 1s")
	need(c.MaxBodyMiB >= 1 && c.MaxImageMiB >= 1 && c.MaxMegapixels >= 1 && c.MaxUploads >= 1,
		"max_body_mib, max_image_mib, max_megapixels, max_uploads: must be at least 1")
	need(c.LogFormat == "json" || c.LogFormat == "text", "log_format: json or text")
	if len(errs) > 0 {
		return fault.E("app.Validate", fault.Invalid, errors.Join(errs...))
	}
	return nil
}

// Has reports whether this process has a role.
func (c *Config) Has(role string) bool { return slices.Contains(c.Roles, role) }

func (c *Config) databaseURL() string {
	if c.Database != "" {
		return c.Database
	}
	return "sqlite:" + filepath.Join(c.Data, "kenkyo.db")
}

func (c *Config) rootKey() string {
	if c.RootKey != "" {
		return c.RootKey
	}
	return filepath.Join(c.Data, "root.key")
}

func (c *Config) modelsDir() string { return filepath.Join(c.Data, "models") }
func (c *Config) blobsDir() string  { return filepath.Join(c.Data, "blobs") }

// assaysFS gives the folder of additional assays; nil when there is none.
func (c *Config) assaysFS() fs.FS {
	dir := c.Assays
	if dir == "" {
		dir = filepath.Join(c.Data, "assays")
		if _, err := os.Stat(dir); err != nil {
			return nil
		}
	}
	return os.DirFS(dir)
}

func (c *Config) workers() int {
	if c.Workers > 0 {
		return c.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// SplitRoles reads a comma-separated list.
func SplitRoles(s string) []string {
	var roles []string
	for r := range strings.SplitSeq(s, ",") {
		if r = strings.TrimSpace(r); r != "" {
			roles = append(roles, r)
		}
	}
	return roles
}

// LoadAssays reads the catalogue that the configuration selects.
func LoadAssays(c *Config) (*assay.Catalogue, error) { return assay.Load(c.assaysFS()) }
