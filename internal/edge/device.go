package edge

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"time"

	"kenkyo/internal/edge/durable"
	"kenkyo/internal/edge/spool"
	"kenkyo/internal/edge/uplink"
	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
)

// Device is this agent's identity, kept in device.json.
type Device struct {
	Server       string         `json:"server"`
	DeviceID     lab.DeviceID   `json:"device_id"`
	FacilityID   lab.FacilityID `json:"facility_id"`
	Token        string         `json:"token"`
	Assay        string         `json:"assay,omitempty"`
	CAFile       string         `json:"ca_file,omitempty"`
	InsecureHTTP bool           `json:"insecure_http,omitempty"`
	EnrolledAt   time.Time      `json:"enrolled_at"`
}

// Enrollment is what Enroll needs.
type Enrollment struct {
	DataDir      string
	Server       string
	Code         string
	Name         string // shown to the people who manage devices
	CAFile       string // absolute path, or empty
	InsecureHTTP bool
	Replace      bool // give up the identity this data folder has
	Version      string
}

// Enroll exchanges a code for an identity and stores it, readable by this user only.
// Errors: fault.Conflict when the folder has an identity and Replace is not set, holds items meant for another platform, or is in use;
// fault.Invalid for a bad address or a folder that others can read; fault.Unauthenticated for a code that is wrong, used or expired;
// fault.Unavailable when the platform cannot be reached.
func Enroll(ctx context.Context, e Enrollment) (Device, error) {
	const op = "edge.Enroll"
	if err := durable.PrivateDir(e.DataDir); err != nil {
		return Device{}, fault.E(op, fault.Invalid, err)
	}
	old, err := LoadDevice(e.DataDir)
	known := err == nil
	switch {
	case spool.Owned(spoolDir(e.DataDir)):
		return Device{}, fault.E(op, fault.Conflict, ErrRunning)
	case known && !e.Replace:
		return Device{}, fault.E(op, fault.Conflict, errors.New("this data folder is already enrolled: give --replace to give up its identity"))
	case err != nil && !fault.Is(err, fault.Unauthenticated) && !e.Replace:
		return Device{}, err
	}
	if err := unsentElsewhere(e, old); err != nil {
		return Device{}, fault.E(op, fault.Conflict, err)
	}
	client, err := uplink.New(uplink.Config{Server: e.Server, Version: e.Version, CAFile: e.CAFile, InsecureHTTP: e.InsecureHTTP})
	if err != nil {
		return Device{}, err
	}
	defer client.Close()
	got, err := client.Enroll(ctx, e.Code, e.Name)
	if err != nil {
		return Device{}, err
	}
	d := Device{
		Server: e.Server, DeviceID: got.DeviceID, FacilityID: got.FacilityID, Token: got.Token, Assay: got.Assay,
		CAFile: e.CAFile, InsecureHTTP: e.InsecureHTTP, EnrolledAt: time.Now().UTC(),
	}
	return d, d.save(e.DataDir, old)
}

// save stores the identity. A cursor counts the releases of one facility: with another one it means nothing.
func (d Device) save(dataDir string, old Device) error {
	const op = "edge.Enroll"
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fault.E(op, fault.Internal, err)
	}
	var disk durable.OS
	if old.FacilityID != d.FacilityID || old.Server != d.Server {
		if err := errors.Join(disk.Remove(cursorFile(dataDir)), disk.Remove(statusFile(dataDir))); err != nil {
			return fault.E(op, fault.Unavailable, err)
		}
	}
	if err := durable.WriteFile(disk, deviceFile(dataDir), b); err != nil {
		return fault.E(op, fault.Unavailable, err)
	}
	return nil
}

// unsentElsewhere refuses to point a queue of patients' images at another platform.
func unsentElsewhere(e Enrollment, old Device) error {
	if old.Server == "" || old.Server == e.Server {
		return nil
	}
	queue, err := spool.Attach(spoolDir(e.DataDir), durable.OS{})
	if err != nil {
		return err
	}
	for _, state := range []spool.State{spool.Waiting, spool.Held} {
		n, err := queue.Count(state)
		if err != nil {
			return err
		}
		if n > 0 {
			return errors.New("the queue holds items for " + old.Server + ": send or discard them first, or use another data folder")
		}
	}
	return nil
}

// LoadDevice reads the identity. Errors: fault.Unauthenticated when there is none; fault.Invalid when others can read the folder;
// fault.Corrupt when it cannot be understood.
func LoadDevice(dataDir string) (Device, error) {
	const op = "edge.LoadDevice"
	b, err := os.ReadFile(deviceFile(dataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return Device{}, fault.E(op, fault.Unauthenticated, ErrNotEnrolled)
	}
	if err != nil {
		return Device{}, fault.E(op, fault.Unavailable, err)
	}
	if err := durable.PrivateDir(dataDir); err != nil {
		return Device{}, fault.E(op, fault.Invalid, err)
	}
	var d Device
	if err := json.Unmarshal(b, &d); err != nil || d.Token == "" || d.Server == "" {
		return Device{}, fault.E(op, fault.Corrupt, errors.New("device.json is damaged: enrol again with --replace"))
	}
	return d, nil
}

// ErrRunning says that an agent is at work with the identity that was to be replaced.
var ErrRunning = errors.New("an agent is running on this data folder: stop it, enrol, and start it again")

// ErrNotEnrolled says that the data folder holds no identity.
var ErrNotEnrolled = errors.New("this computer is not enrolled")
