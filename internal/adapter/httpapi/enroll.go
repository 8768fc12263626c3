package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"kenkyo/internal/lab"
)

type enrollInput struct {
	Body struct {
		Code string `json:"code" minLength:"1" maxLength:"100" doc:"one-time code from kenkyo device enroll"`
		Name string `json:"name,omitempty" maxLength:"200" doc:"the device's own name for itself"`
	}
}

type enrollBody struct {
	DeviceID   string `json:"device_id"`
	FacilityID string `json:"facility_id"`
	Token      string `json:"token" doc:"shown once; the platform keeps its hash only"`
	Assay      string `json:"assay,omitempty" doc:"assay of submissions that name none"`
}

func (s *Server) registerEnroll(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "enroll-device", Method: http.MethodPost, Path: "/api/v1/devices:enroll", Security: open(),
		Summary: "Exchange a one-time code for a device token", Tags: []string{"hospital"},
		Errors: []int{http.StatusUnauthorized, http.StatusUnprocessableEntity},
	}, func(ctx context.Context, in *enrollInput) (*bodyOf[enrollBody], error) {
		e, err := s.Identity.Enroll(ctx, in.Body.Code, in.Body.Name)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return &bodyOf[enrollBody]{Body: enrollBody{
			DeviceID: string(e.Device.ID), FacilityID: string(e.Device.Facility), Token: e.Token, Assay: e.Device.Assay,
		}}, nil
	})
}

type assaysBody struct {
	Assays       []*lab.Assay      `json:"assays"`
	Vocabularies []*lab.Vocabulary `json:"vocabularies"`
}

// registerAssays shows the catalogue. It holds nothing of a patient or a facility, so it asks for no token.
func (s *Server) registerAssays(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-assays", Method: http.MethodGet, Path: "/api/v1/assays", Security: open(),
		Summary: "Assays and vocabularies in force", Tags: []string{"hospital"},
	}, func(ctx context.Context, _ *struct{}) (*bodyOf[assaysBody], error) {
		var body assaysBody
		for _, n := range s.Assays.Names() {
			a, err := s.Assays.Get(n)
			if err != nil {
				return nil, s.fail(ctx, err)
			}
			body.Assays = append(body.Assays, a)
		}
		for _, n := range s.Assays.Vocabularies() {
			body.Vocabularies = append(body.Vocabularies, s.Assays.Vocabulary(n))
		}
		return &bodyOf[assaysBody]{Body: body}, nil
	})
}
