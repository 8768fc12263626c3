package httpapi

import (
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// The multipart routes are served outside huma, which would buffer the form; their descriptions are added by hand.

func imagesOperation(api huma.API, path string) *huma.Operation {
	text := func(doc string) *huma.Schema { return &huma.Schema{Type: huma.TypeString, Description: doc} }
	properties := map[string]*huma.Schema{
		"image": {
			Type: huma.TypeArray, Description: "1 to 100 files: JPEG, PNG, BMP, TIFF or WebP, by repeating the part",
			Items: &huma.Schema{Type: huma.TypeString, Format: "binary"},
		},
		"image_id":       {Type: huma.TypeArray, Description: "a name for each image, in order; absent: img-001, img-002, …", Items: &huma.Schema{Type: huma.TypeString}},
		"specimen_id":    text("the hospital's identifier of the specimen, at most 199 bytes, no control characters"),
		"classification": text("the analyser's own first pass, a JSON object or array"),
		"captured_at":    text("RFC 3339 time with offset; up to 24 h ahead is accepted and flagged"),
		"assay":          text("absent: the device's default"),
		"condition":      text("selects the model where the assay has one for each condition, e.g. aerobic"),
		"priority":       {Type: huma.TypeString, Enum: []any{"routine", "stat"}, Default: "routine"},
		"pixel_size_um":  text("calibration: micrometres a pixel, above 0"),
	}
	op := multipartOperation(api, path, "submit-images", "Submit the images of one specimen",
		properties, []string{"image", "specimen_id"}, reflect.TypeFor[acceptedBody]())
	op.Parameters = []*huma.Param{{
		Name: "Idempotency-Key", In: "header", Schema: &huma.Schema{Type: huma.TypeString, MaxLength: ptr(255)},
		Description: "counts per device for 30 days; the same key with another body is 422",
	}}
	return op
}

func detectOperation(api huma.API, path string) *huma.Operation {
	return multipartOperation(api, path, "detect", "Findings in one image at once; nothing is stored", map[string]*huma.Schema{
		"image":         {Type: huma.TypeString, Format: "binary"},
		"assay":         {Type: huma.TypeString},
		"condition":     {Type: huma.TypeString},
		"pixel_size_um": {Type: huma.TypeString},
	}, []string{"image"}, reflect.TypeFor[detectedBody]())
}

func multipartOperation(api huma.API, path, id, summary string, properties map[string]*huma.Schema, required []string, answer reflect.Type) *huma.Operation {
	registry := api.OpenAPI().Components.Schemas
	fail := func(doc string) *huma.Response {
		return &huma.Response{Description: doc, Content: map[string]*huma.MediaType{
			"application/problem+json": {Schema: registry.Schema(reflect.TypeFor[huma.ErrorModel](), true, "")},
		}}
	}
	return &huma.Operation{
		OperationID: id, Method: http.MethodPost, Path: path, Summary: summary, Tags: []string{"hospital"},
		Security: []map[string][]string{{"device": {}}},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"multipart/form-data": {Schema: &huma.Schema{Type: huma.TypeObject, Properties: properties, Required: required}},
		}},
		Responses: map[string]*huma.Response{
			"200": {Description: "OK", Content: map[string]*huma.MediaType{
				"application/json": {Schema: registry.Schema(answer, true, "")},
			}},
			"401": fail("the device token is missing, wrong or revoked"),
			"413": fail("the body is too large"),
			"415": fail("the body is no multipart form"),
			"422": fail("a field breaks a rule; errors names it"),
			"503": fail("send it again after Retry-After, unchanged"),
		},
	}
}

// open is the security of routes that ask for no token.
func open() []map[string][]string { return []map[string][]string{} }

// openAnswers lets answers grow: the contract says that fields may be added, so no client may be generated that refuses them.
// What clients send stays closed.
func openAnswers(api huma.API) {
	for name, schema := range api.OpenAPI().Components.Schemas.Map() {
		if isClosed, ok := schema.AdditionalProperties.(bool); ok && !isClosed && name != "EnrollInputBody" {
			schema.AdditionalProperties = nil
		}
	}
}

func ptr[T any](v T) *T { return &v }
