package ort

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	onnx "github.com/yalue/onnxruntime_go"

	"kenkyo/internal/fault"
	"kenkyo/internal/mlops/registry"
)

// Version is the ONNX Runtime that tools/fetch-onnxruntime.sh provides.
const Version = "1.30.0"

// libraryFile is what the library is called in a cache or beside the program.
const libraryFile = "libonnxruntime.so.1"

// loaded is the library of this process. It is never unloaded: the system frees it at exit, and unloading under a session that
// somebody still holds would crash.
var loaded struct {
	sync.Mutex
	path string
}

// Runtime is ONNX Runtime, loaded. It is safe for concurrent use and needs no closing.
type Runtime struct{ name string }

// Locate finds the library: the configured path when there is one, else beside the program, else in .cache/onnxruntime of a
// folder above the program or of the working folder or one above that, where `make ort` puts it.
// Errors: fault.Unavailable saying to run `make ort`.
func Locate(configured string) (string, error) {
	var places []string
	if configured != "" {
		places = append(places, configured)
	} else {
		if exe, err := os.Executable(); err == nil {
			places = append(places, filepath.Join(filepath.Dir(exe), libraryFile))
			places = append(places, caches(filepath.Dir(exe))...)
		}
		if dir, err := os.Getwd(); err == nil {
			places = append(places, caches(dir)...)
		}
	}
	for _, p := range places {
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			return filepath.Abs(p)
		}
	}
	text := "ONNX Runtime is not installed"
	if configured != "" {
		text = "there is no ONNX Runtime library at " + configured
	}
	return "", fault.E("ort.Locate", fault.Unavailable, errors.New(text+": run `make ort`, or set the path of "+libraryFile))
}

// caches lists where `make ort` would have put the library for a repository that dir lies in.
func caches(dir string) []string {
	var places []string
	for ; ; dir = filepath.Dir(dir) {
		places = append(places, filepath.Join(dir, ".cache", "onnxruntime", Version, libraryFile))
		if dir == filepath.Dir(dir) {
			return places
		}
	}
}

// Open loads the library at libPath into the process; further calls with the same path share it.
// Errors: fault.Unavailable naming `make ort` when the file is missing or is no ONNX Runtime; fault.Conflict when the process
// has loaded another one.
func Open(libPath string) (*Runtime, error) {
	const op = "ort.Open"
	path, err := Locate(libPath)
	if err != nil {
		return nil, fault.E(op, fault.Internal, err)
	}
	loaded.Lock()
	defer loaded.Unlock()
	if loaded.path == "" {
		onnx.SetSharedLibraryPath(path)
		if err := onnx.InitializeEnvironment(onnx.WithLogLevelError()); err != nil {
			return nil, fault.E(op, fault.Unavailable, fmt.Errorf("%w: run `make ort`, or set the path of %s", err, libraryFile))
		}
		loaded.path = path
	}
	if loaded.path != path {
		return nil, fault.E(op, fault.Conflict, fmt.Errorf("this process runs ONNX Runtime from %s already", loaded.path))
	}
	return &Runtime{name: "onnxruntime " + onnx.GetVersion() + " cpu"}, nil
}

// Name is the runtime, its version and device, e.g. "onnxruntime 1.30.0 cpu".
func (rt *Runtime) Name() string { return rt.name }

// Inspect implements registry.Inspector.
// Errors: fault.Invalid when the file is no model the runtime can load.
func (rt *Runtime) Inspect(path string) (registry.IO, error) {
	const op = "ort.Inspect"
	opts, err := newOptions(Options{}, onnx.GraphOptimizationLevelDisableAll)
	if err != nil {
		return registry.IO{}, fault.E(op, fault.Internal, err)
	}
	defer opts.Destroy() //nolint:errcheck // frees memory, cannot fail
	refuse := func(err error) (registry.IO, error) {
		return registry.IO{}, fault.E(op, fault.Invalid, fmt.Errorf("ONNX Runtime cannot load %s: %s", filepath.Base(path), plain(err, path)))
	}
	ins, outs, err := onnx.GetInputOutputInfoWithOptions(path, opts)
	if err != nil {
		return refuse(err)
	}
	meta, err := metadata(path, opts)
	if err != nil {
		return refuse(err)
	}
	return registry.IO{Inputs: describe(ins), Outputs: describe(outs), Metadata: meta}, nil
}

// plain gives a runtime error's text with the file's name in place of its path, which is nobody's business outside.
func plain(err error, path string) string {
	return strings.ReplaceAll(err.Error(), path, filepath.Base(path))
}

func describe(infos []onnx.InputOutputInfo) []registry.TensorInfo {
	out := make([]registry.TensorInfo, len(infos))
	for i, f := range infos {
		out[i] = registry.TensorInfo{Name: f.Name, Shape: f.Dimensions, Type: typeName(f)}
	}
	return out
}

// typeName gives the element type as a manifest writes it; types that no model here may have keep the runtime's word.
func typeName(f onnx.InputOutputInfo) string {
	if f.OrtValueType != onnx.ONNXTypeTensor {
		return f.OrtValueType.String()
	}
	switch f.DataType {
	case onnx.TensorElementDataTypeFloat:
		return string(registry.Float32)
	case onnx.TensorElementDataTypeFloat16:
		return string(registry.Float16)
	case onnx.TensorElementDataTypeUint8:
		return "uint8"
	case onnx.TensorElementDataTypeInt8:
		return "int8"
	default:
		return f.DataType.String()
	}
}

// metadata reads the key-value pairs an exporter wrote.
func metadata(path string, opts *onnx.SessionOptions) (map[string]string, error) {
	m, err := onnx.GetModelMetadataWithOptions(path, opts)
	if err != nil {
		return nil, err
	}
	defer m.Destroy() //nolint:errcheck // frees memory, cannot fail
	keys, err := m.GetCustomMetadataMapKeys()
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(keys))
	for _, k := range keys {
		v, ok, err := m.LookupCustomMetadataMap(k)
		if err != nil {
			return nil, err
		}
		if ok {
			out[k] = v
		}
	}
	return out, nil
}
