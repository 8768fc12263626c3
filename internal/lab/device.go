package lab

// Device is one enrolled hospital agent, as known after its token was checked.
type Device struct {
	ID           DeviceID
	Facility     FacilityID
	Name         string
	Assay        string // assay of submissions that name none; "" when every submission must name one
	IsDesignated bool   // receives the facility's results that no device in use uploaded
}
