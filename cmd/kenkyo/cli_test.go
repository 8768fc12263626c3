package main

import (
	"bytes"
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kenkyo runs one command in this process.
func kenkyo(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs, func(string) string { return "" })
	return code, out.String(), errs.String()
}

// want runs a command that must succeed and gives its output.
func want(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := kenkyo(t, args...)
	if code != exitOK {
		t.Fatalf("kenkyo %s: exit status %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

func testdata(parts ...string) string {
	return filepath.Join(append([]string{"..", "..", "internal"}, parts...)...)
}

var sample = filepath.Join("..", "..", "examples", "images", "blood-smear", "BloodImage_00035.jpg")

// An ONNX file as a YOLO exporter leaves it needs nothing beside it.
func TestBareExportDetects(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"yolov5", "yolov8", "yolov8_fp16", "yolov8_int8", "yolov8_batch4", "yolov8_dynamic"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			want(t, "model", "add", "--data", data, "--name", "mine", testdata("adapter", "ort", "testdata", file+".onnx"))
			var models []modelInfo
			if err := json.Unmarshal([]byte(want(t, "model", "list", "--data", data, "--json")), &models); err != nil {
				t.Fatal(err)
			}
			if len(models) != 1 || models[0].Name != "mine" || strings.Join(models[0].Labels, " ") != "RBC WBC" {
				t.Errorf("model list: got %+v, want mine with RBC and WBC", models)
			}
			picture := filepath.Join(data, "annotated.png")
			var got []detected
			out := want(t, "detect", "--data", data, "--model", "mine", "--threshold", "0.05", "--json", "--out", picture, sample)
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || len(got[0].Findings) == 0 || !strings.HasPrefix(got[0].Model, "model:mine@") {
				t.Errorf("detect: got %s", out)
			}
			f, err := os.Open(picture)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			if c, err := png.DecodeConfig(f); err != nil || c.Width != 640 || c.Height != 480 {
				t.Errorf("annotated picture: got %+v, %v, want 640×480", c, err)
			}
		})
	}
}

// A trained network exported by a YOLO-style exporter, without its package, detects as it does with it.
func TestBareTrainedNetworkDetects(t *testing.T) {
	t.Parallel()
	count := func(model string) (cells int) {
		var got []detected
		if err := json.Unmarshal([]byte(want(t, "detect", "--model", model, "--threshold", "0.5", "--json", sample)), &got); err != nil {
			t.Fatal(err)
		}
		return len(got[0].Findings)
	}
	folder := filepath.Join("..", "..", "models", "blood-smear")
	// The package has its own rule for overlapping boxes; at this score they differ by a few at most.
	if bare, packaged := count(filepath.Join(folder, "model.onnx")), count(folder); bare < packaged || bare > packaged+3 || packaged < 10 {
		t.Errorf("the bare file found %d cells, the package %d", bare, packaged)
	}
}

func TestCommandsThatFail(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	onnx := func(name string) string { return testdata("adapter", "ort", "testdata", name+".onnx") }
	for _, tt := range []struct {
		name string
		args []string
		code int
		text string
	}{
		{"garbage for a model", []string{"model", "add", "--data", data, onnx("garbage")}, exitFailed, "cannot load"},
		{"a model of NaN", []string{"model", "add", "--data", data, onnx("nan")}, exitFailed, "not finite"},
		{"no such file", []string{"model", "add", "--data", data, "absent.onnx"}, exitFailed, "does not exist"},
		{"unknown model", []string{"detect", "--data", data, "--model", "absent", sample}, exitFailed, "absent"},
		{"no image", []string{"detect", "--data", data, "--model", onnx("yolov8"), "/dev/null"}, exitFailed, "/dev/null"},
		{"no --model", []string{"detect", sample}, exitUsage, "model"},
		{"unknown command", []string{"serv"}, exitUsage, "serv"},
		{"unknown facility", []string{"device", "enroll", "--data", data, "--facility", "nowhere"}, exitFailed, "facility add"},
		{"unknown assay", []string{"device", "enroll", "--data", data, "--assay", "liver"}, exitFailed, "blood-smear"},
		{"unknown device", []string{"device", "revoke", "--data", data, "dev_x"}, exitFailed, "no device"},
		{"unknown role", []string{"serve", "--data", data, "--roles", "cook"}, exitFailed, "cook"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := kenkyo(t, tt.args...)
			if code != tt.code || !strings.Contains(errs, tt.text) {
				t.Errorf("got exit status %d, %q, %q; want %d and a message with %q", code, out, errs, tt.code, tt.text)
			}
		})
	}
}

func TestAdministration(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	fac := strings.TrimSpace(want(t, "facility", "add", "--data", data, "中央病院"))
	if code, _, errs := kenkyo(t, "facility", "add", "--data", data, "中央病院"); code != exitFailed || !strings.Contains(errs, "already") {
		t.Errorf("the same name twice: got %d, %q", code, errs)
	}
	if out := want(t, "facility", "list", "--data", data); !strings.Contains(out, fac) || !strings.Contains(out, "中央病院") {
		t.Errorf("facility list: got %q", out)
	}
	if code := strings.TrimSpace(want(t, "device", "enroll", "--data", data, "--assay", "gram-stain")); len(code) != 23 {
		t.Errorf("enrolment code: got %q, want four groups of five", code)
	}
	if out := want(t, "doctor", "--data", data); !strings.Contains(out, "0 images, 0 violations") {
		t.Errorf("doctor: got %q", out)
	}
	// An image in clear breaks invariant 6.
	if err := os.WriteFile(filepath.Join(data, "blobs", "stray"), sampleBytes(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := kenkyo(t, "doctor", "--data", data); code != exitFindings || !strings.Contains(out, "in clear: blobs/stray") {
		t.Errorf("doctor with an image in clear: got %d, %q", code, out)
	}
}

func sampleBytes(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The printed configuration is a valid file that gives the same configuration.
func TestConfigPrintIsItsOwnInput(t *testing.T) {
	t.Parallel()
	text := want(t, "config", "print")
	file := filepath.Join(t.TempDir(), "kenkyo.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if again := want(t, "config", "print", "--config", file); again != text {
		t.Errorf("read back: got\n%s\nwant\n%s", again, text)
	}
	if err := os.WriteFile(file, []byte("listn: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := kenkyo(t, "config", "print", "--config", file); code != exitFailed || !strings.Contains(errs, "listn") {
		t.Errorf("unknown key: got %d, %q", code, errs)
	}
}
