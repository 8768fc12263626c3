// Package storetest is what every database behind the store must do. An implementation's test opens a fresh, empty database and
// calls Run; a behaviour found on one database becomes a case here for all.
package storetest
