package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"kenkyo/internal/fault"
)

// Config says where the platform is and how to reach it. Proxies come from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
type Config struct {
	Server       string        // base address, e.g. https://kenkyo.example.jp
	Token        string        // the device's token; empty before enrolment
	Version      string        // of this program, for User-Agent
	CAFile       string        // PEM file of further trusted authorities, e.g. of an inspecting proxy; empty for none
	InsecureHTTP bool          // allow http:// to other hosts than this one; for trials only
	Stall        time.Duration // an upload that moves no byte for so long is given up; 0 means one minute
}

// Client calls the platform. Safe for concurrent use.
type Client struct {
	base   *url.URL
	config Config
	http   *http.Client
}

// maxAnswer bounds what is read of any answer but a page of results.
const maxAnswer = 1 << 20

// maxPage bounds one page of results.
const maxPage = 32 << 20

// New checks the address and prepares the client; it does not dial.
// Errors: fault.Invalid for an address that is no https URL (http is allowed to this very computer, or with InsecureHTTP), or a
// certificate file that holds no certificate.
func New(c Config) (*Client, error) {
	const op = "uplink.New"
	base, err := ParseServer(c.Server, c.InsecureHTTP)
	if err != nil {
		return nil, fault.E(op, fault.Invalid, err)
	}
	if c.Stall <= 0 {
		c.Stall = time.Minute
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		if conf.RootCAs, err = roots(c.CAFile); err != nil {
			return nil, fault.E(op, fault.Invalid, err)
		}
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 90 * time.Second, // longer than any long poll
		ExpectContinueTimeout: 2 * time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   2,
		ForceAttemptHTTP2:     true,
		WriteBufferSize:       32 << 10,
	}
	// A redirect would carry images and token to an address nobody configured: it is an answer like any other.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{base: base, config: c, http: &http.Client{Transport: transport, CheckRedirect: stay}}, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// ParseServer checks a base address. Pure.
func ParseServer(server string, insecureHTTP bool) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(server, "/"))
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the server address must look like https://kenkyo.example.jp")
	case u.Scheme == "https":
		return u, nil
	case u.Scheme != "http":
		return nil, errors.New("the server address must begin with https://")
	case insecureHTTP || isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, errors.New("the server address must begin with https:// (http:// would send images unprotected)")
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func roots(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path) //nolint:gosec // the person who runs the agent names the file
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return pool, nil
}

// request makes a request with the headers every call carries.
func (c *Client) request(ctx context.Context, method, path, query string, body io.Reader) (*http.Request, error) {
	u := *c.base
	u.Path += path
	u.RawQuery = query
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "kenkyo-edge/"+c.config.Version)
	req.Header.Set("Accept", "application/json, application/problem+json")
	if c.config.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.config.Token)
	}
	return req, nil
}

// do sends a request and decodes the answer 200 into out. The second value is the platform's clock, zero when it does not tell it.
func (c *Client) do(op string, req *http.Request, limit int64, out any) (time.Time, error) {
	res, err := c.http.Do(req)
	if err != nil {
		return time.Time{}, fail(op, networkProblem(req.Context(), err))
	}
	defer res.Body.Close() //nolint:errcheck // it is only read
	clock, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		clock = time.Time{}
	}
	if res.StatusCode != http.StatusOK {
		return clock, fail(op, answerProblem(res))
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return clock, fail(op, networkProblem(req.Context(), err))
	}
	if int64(len(b)) > limit {
		return clock, fail(op, &Problem{Verdict: Wait, Status: res.StatusCode, Title: "the answer is longer than this agent reads"})
	}
	if err := json.Unmarshal(b, out); err != nil {
		return clock, fail(op, foreign(res))
	}
	return clock, nil
}
