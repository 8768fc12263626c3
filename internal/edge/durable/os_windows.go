package durable

import (
	"errors"
	"fmt"
	"os"
	"regexp"

	"golang.org/x/sys/windows"
)

func syncDir(string) error { return nil }

// others matches an access rule for Everyone, Users, Authenticated Users, Guests or Anonymous in a descriptor's text form.
var others = regexp.MustCompile(`\(A;[^)]*;(WD|BU|AU|BG|AN)\)`)

// PrivateDir makes path, open to the current user, the system and administrators only, and refuses a folder that exists and lets
// other users in.
func PrivateDir(path string) error {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		return protect(path)
	}
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return err
	}
	if others.MatchString(sd.String()) {
		return fmt.Errorf("%s is open to other users: take their access away, or choose another folder", path)
	}
	return nil
}

func protect(path string) error {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return err
	}
	sd, err := windows.SecurityDescriptorFromString("D:P(A;OICI;FA;;;" + user.User.Sid.String() + ")(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)")
	if err != nil {
		return err
	}
	dacl, _, err := sd.DACL()
	if err != nil {
		return err
	}
	return windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT,
		windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, dacl, nil)
}

// Lock takes an exclusive lock on the file at path, which ends with the process however it dies. With wait it blocks until the
// lock is free; without, a lock that is taken gives ErrLocked.
func Lock(path string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	how := uint32(windows.LOCKFILE_EXCLUSIVE_LOCK)
	if !wait {
		how |= windows.LOCKFILE_FAIL_IMMEDIATELY
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, new(windows.Overlapped))
	if err == nil {
		return f, nil
	}
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		err = ErrLocked
	}
	return nil, errors.Join(err, f.Close())
}
