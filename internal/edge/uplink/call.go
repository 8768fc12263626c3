package uplink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// Page is one answer to a request for results.
type Page struct {
	Results []json.RawMessage // as received
	Next    string            // cursor for the next request
	HasMore bool
}

// Results asks for what was released after the cursor; the empty cursor means from the beginning. The platform may keep the request
// open for as long as wait when there is nothing yet. since may also be a time in RFC 3339 form.
func (c *Client) Results(ctx context.Context, since string, wait time.Duration) (Page, error) {
	const op = "uplink.Results"
	query := url.Values{"since": {since}}
	if wait > 0 {
		query.Set("wait", wait.String())
	}
	req, err := c.request(ctx, http.MethodGet, "/api/v1/results", query.Encode(), nil)
	if err != nil {
		return Page{}, fault.E(op, fault.Internal, err)
	}
	var answer struct {
		Results *[]json.RawMessage `json:"results"`
		Next    string             `json:"next"`
		HasMore bool               `json:"has_more"`
	}
	if _, err := c.do(op, req, maxPage, &answer); err != nil {
		return Page{}, err
	}
	if answer.Results == nil {
		return Page{}, fail(op, &Problem{
			Verdict: WaitAll, Status: http.StatusOK, Title: "the answer does not come from the platform",
			Detail: "it holds no list of results",
		})
	}
	return Page{Results: *answer.Results, Next: answer.Next, HasMore: answer.HasMore}, nil
}

// Enrolled is what a device is given in exchange for an enrolment code.
type Enrolled struct {
	DeviceID   lab.DeviceID   `json:"device_id"`
	FacilityID lab.FacilityID `json:"facility_id"`
	Token      string         `json:"token"`
	Assay      string         `json:"assay"`
}

// Enroll exchanges a code, which works once, for the device's identity and token.
// Errors: fault.Unauthenticated when the code is wrong, used or expired; otherwise those that carry a Problem.
func (c *Client) Enroll(ctx context.Context, code, name string) (Enrolled, error) {
	const op = "uplink.Enroll"
	b, err := json.Marshal(map[string]string{"code": code, "name": name})
	if err != nil {
		return Enrolled{}, fault.E(op, fault.Internal, err)
	}
	req, err := c.request(ctx, http.MethodPost, "/api/v1/devices:enroll", "", bytes.NewReader(b))
	if err != nil {
		return Enrolled{}, fault.E(op, fault.Internal, err)
	}
	req.Header.Set("Content-Type", "application/json")
	var e Enrolled
	_, err = c.do(op, req, maxAnswer, &e)
	if p := ProblemOf(err); p != nil && (p.Status == http.StatusUnauthorized || p.Status == http.StatusGone) {
		return Enrolled{}, fault.E(op, fault.Unauthenticated, errors.New("the enrolment code is wrong, already used, or expired"))
	}
	if err != nil {
		return Enrolled{}, err
	}
	if e.Token == "" || e.DeviceID == "" {
		return Enrolled{}, fail(op, &Problem{
			Verdict: WaitAll, Status: http.StatusOK, Title: "the answer does not come from the platform",
			Detail: "it holds no device token",
		})
	}
	return e, nil
}
