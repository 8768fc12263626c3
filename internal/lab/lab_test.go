package lab_test

import (
	"slices"
	"strings"
	"testing"

	"kenkyo/internal/lab"
)

func TestEveryImageCanEnd(t *testing.T) {
	t.Parallel()
	all := lab.ImageStates()
	for _, from := range all {
		reached := map[lab.ImageState]bool{from: true}
		for grown := true; grown; {
			grown = false
			for _, a := range all {
				for _, b := range all {
					if reached[a] && !reached[b] && lab.CanMove(a, b) {
						reached[b], grown = true, true
					}
				}
			}
		}
		ends := reached[lab.StateReleased] || reached[lab.StateRejected] || reached[lab.StateErased]
		if !ends {
			t.Errorf("from %s no end can be reached", from)
		}
	}
}

func TestMovesThatMustNotBe(t *testing.T) {
	t.Parallel()
	for _, m := range [][2]lab.ImageState{
		{lab.StateReceived, lab.StateReleased},
		{lab.StateReceived, lab.StateDecided},
		{lab.StateReleased, lab.StateDecided},
		{lab.StateRejected, lab.StateReceived},
		{lab.StateErased, lab.StateReceived},
		{lab.StateInReview, lab.StateReleased},
		{"", lab.StateReceived},
	} {
		if lab.CanMove(m[0], m[1]) {
			t.Errorf("an image may go from %q to %q", m[0], m[1])
		}
	}
	for _, s := range lab.ImageStates() {
		if s != lab.StateErased && !lab.CanMove(s, lab.StateErased) {
			t.Errorf("an image in state %s cannot be erased", s)
		}
	}
}

func TestIdentifiers(t *testing.T) {
	t.Parallel()
	var ids []string
	for range 1000 {
		ids = append(ids, string(lab.NewRequestID()))
	}
	if !slices.IsSorted(ids) {
		t.Error("identifiers do not sort by time of issue")
	}
	if n := len(slices.Compact(ids)); n != 1000 {
		t.Errorf("got %d different identifiers of 1000", n)
	}
	for want, id := range map[string]string{
		"fac_": string(lab.NewFacilityID()), "dev_": string(lab.NewDeviceID()), "fld_": string(lab.NewFieldImageID()), "clm_": string(lab.NewClaimToken()), "evt_": lab.NewEventID(),
	} {
		if !strings.HasPrefix(id, want) || len(id) != len(want)+32 {
			t.Errorf("identifier %q: want prefix %s and 32 digits", id, want)
		}
	}
}
