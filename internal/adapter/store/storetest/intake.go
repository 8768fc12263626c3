package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kenkyo/internal/clinic/intake"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/identity"
)

func testAcceptAndFind(t *testing.T, b *bench) {
	s := b.accept(2, func(s *intake.Submission) { s.Flags = []string{"captured_at_ahead"} })
	got, body, err := b.FindSubmission(t.Context(), b.facility, s.Identity, time.Time{})
	b.must(err)
	want := &intake.Accepted{RequestID: s.RequestID, Flags: s.Flags, Images: []intake.AcceptedImage{
		{ImageID: "img-001", SHA256: s.Images[0].SHA256}, {ImageID: "img-002", SHA256: s.Images[1].SHA256},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("found submission (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(s.Body, body); diff != "" {
		t.Errorf("body digest (-want +got):\n%s", diff)
	}
	_, _, err = b.FindSubmission(t.Context(), lab.NewFacilityID(), s.Identity, time.Time{})
	b.wantKind(err, fault.NotFound)
	owned, err := b.OwnsBlob(t.Context(), s.Images[0].ID)
	if err != nil || !owned {
		t.Errorf("OwnsBlob of an accepted image: got %v, %v", owned, err)
	}
	owned, err = b.OwnsBlob(t.Context(), lab.NewFieldImageID())
	if err != nil || owned {
		t.Errorf("OwnsBlob of an unknown image: got %v, %v", owned, err)
	}
}

func testIdentityConflict(t *testing.T, b *bench) {
	b.accept(1, identityMAC("same"))
	b.wantKind(b.Accept(t.Context(), b.submission(1, identityMAC("same"))), fault.Conflict)
}

func testIdentityExpiry(t *testing.T, b *bench) {
	old := b.accept(1, identityMAC("key"))
	b.clock.Add(31 * 24 * time.Hour)
	limit := b.clock.Now().Add(-30 * 24 * time.Hour)
	_, _, err := b.FindSubmission(t.Context(), b.facility, old.Identity, limit)
	b.wantKind(err, fault.NotFound)
	again := b.accept(1, identityMAC("key"), notBefore(limit))
	got, _, err := b.FindSubmission(t.Context(), b.facility, old.Identity, limit)
	b.must(err)
	if got.RequestID != again.RequestID {
		t.Errorf("the key after its expiry: got %s, want the new request %s", got.RequestID, again.RequestID)
	}
}

func testSpecimenConflict(t *testing.T, b *bench) {
	b.accept(1, specimenMAC("s", true))
	b.wantKind(b.Accept(t.Context(), b.submission(1, specimenMAC("s", true))), fault.Conflict)
	b.accept(1, specimenMAC("s", false))
	key, err := b.SpecimenKey(t.Context(), b.facility, sum("s"))
	if err != nil || string(key) != "wrapped" {
		t.Errorf("SpecimenKey: got %q, %v", key, err)
	}
	_, err = b.SpecimenKey(t.Context(), b.facility, sum("other"))
	b.wantKind(err, fault.NotFound)
}

func testAcceptIsAtomic(t *testing.T, b *bench) {
	s := b.submission(2)
	s.Images[1].ID = s.Images[0].ID // fails at the last insert but one
	if err := b.Accept(t.Context(), s); err == nil {
		t.Fatal("two images with one identifier were accepted")
	}
	_, _, err := b.FindSubmission(t.Context(), b.facility, s.Identity, time.Time{})
	b.wantKind(err, fault.NotFound)
	_, err = b.SpecimenKey(t.Context(), b.facility, s.SpecimenMAC)
	b.wantKind(err, fault.NotFound)
	found, err := b.CheckRows(t.Context(), 10)
	if err != nil || len(found) > 0 {
		t.Errorf("doctor after a failed submission: got %v, %v", found, err)
	}
}

func testInvitation(t *testing.T, b *bench) {
	inv := identity.Invitation{CodeHash: sum("c"), Facility: b.facility, DeviceName: "PC", Assay: "gram-stain", ExpiresAt: b.clock.Now().Add(time.Minute)}
	b.must(b.Invite(t.Context(), inv))
	_, err := b.Enroll(t.Context(), sum("wrong"), lab.NewDeviceID(), "", sum("t0"), b.clock.Now())
	b.wantKind(err, fault.NotFound)
	_, err = b.Enroll(t.Context(), inv.CodeHash, lab.NewDeviceID(), "", sum("t1"), b.clock.Now().Add(time.Hour))
	b.wantKind(err, fault.NotFound)
	dev, err := b.Enroll(t.Context(), inv.CodeHash, lab.NewDeviceID(), "own name", sum("t2"), b.clock.Now())
	b.must(err)
	if dev.Name != "own name" || dev.Assay != "gram-stain" || dev.Facility != b.facility {
		t.Errorf("enrolled device: got %+v", dev)
	}
	_, err = b.Enroll(t.Context(), inv.CodeHash, lab.NewDeviceID(), "", sum("t3"), b.clock.Now())
	b.wantKind(err, fault.NotFound)
	b.wantKind(b.Invite(t.Context(), identity.Invitation{CodeHash: sum("d"), Facility: "fac_none"}), fault.NotFound)
}

func testRevocation(t *testing.T, b *bench) {
	dev := b.enrol("PC-2")
	got, err := b.DeviceByToken(t.Context(), sum("token-PC-2"))
	b.must(err)
	if diff := cmp.Diff(&dev, got); diff != "" {
		t.Errorf("device by token (-want +got):\n%s", diff)
	}
	b.must(b.Revoke(t.Context(), dev.ID, b.clock.Now()))
	b.must(b.Revoke(t.Context(), dev.ID, b.clock.Now().Add(time.Hour)))
	_, err = b.DeviceByToken(t.Context(), sum("token-PC-2"))
	b.wantKind(err, fault.NotFound)
	b.wantKind(b.Revoke(t.Context(), "dev_none", b.clock.Now()), fault.NotFound)
	all, err := b.Devices(t.Context())
	b.must(err)
	if len(all) != 2 || all[0].RevokedAt != (time.Time{}) || !all[1].RevokedAt.Equal(b.clock.Now()) {
		t.Errorf("devices: got %+v, want the second revoked once", all)
	}
}

func testText(t *testing.T, b *bench) {
	captured := time.Date(2026, 3, 31, 23, 59, 59, 999999000, time.UTC)
	s := b.accept(1, func(s *intake.Submission) {
		s.Condition, s.CapturedAt, s.PixelSizeUM = "嫌気性 😀", captured, 0.123456789
		s.Images[0].ImageID = "左上"
	})
	v, err := b.Request(t.Context(), b.device, s.RequestID, "")
	b.must(err)
	if v.Condition != "嫌気性 😀" || v.Images[0].ImageID != "左上" || !v.CapturedAt.Equal(captured) || !v.ReceivedAt.Equal(s.ReceivedAt) {
		t.Errorf("request: got %+v", v)
	}
	c := b.claim(1)
	if c.Images[0].PixelSizeUM != 0.123456789 {
		t.Errorf("pixel size: got %v, want 0.123456789", c.Images[0].PixelSizeUM)
	}
	all, err := b.Facilities(t.Context())
	if err != nil || len(all) != 1 || all[0].Name != "総合病院" {
		t.Errorf("facilities: got %v, %v", all, err)
	}
}
