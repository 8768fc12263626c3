package app_test

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"kenkyo/internal/app"
)

// noisePNG gives a structurally whole PNG of about 100 KB that differs from every other one.
func noisePNG() []byte {
	const size = 100 << 10
	b := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x01\x00\x00\x00\x01\x00\x08\x02\x00\x00\x00\xd3\x10\x3f\x31"),
		binary.BigEndian.AppendUint32(nil, size)...)
	b = append(b, "IDAT"...)
	data := make([]byte, size+4) // with a checksum that nobody reads at intake
	_, _ = rand.Read(data)
	return append(append(b, data...), "\x00\x00\x00\x00IEND\xae\x42\x60\x82"...)
}

// BenchmarkAccept measures durable accepts of 100 KB images over HTTP: sealed, fsync'ed, committed.
func BenchmarkAccept(b *testing.B) {
	s := newSite(b, withRoles(app.RoleAPI))
	token, _ := s.device(s.facility("one"))
	client := &http.Transport{MaxIdleConnsPerHost: 64}
	var n atomic.Int64
	b.SetParallelism(16)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ct, body := form(specimen(fmt.Sprintf("S%d", n.Add(1))), image("a.png", noisePNG()))
			resp, err := client.RoundTrip(s.request(http.MethodPost, "/api/v1/images", token, ct, body))
			if err != nil {
				b.Error(err)
				return
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				b.Errorf("got %s", resp.Status)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "accepts/s")
}

// BenchmarkEmptyPoll measures polls that find nothing new.
func BenchmarkEmptyPoll(b *testing.B) {
	s := newSite(b, withRoles(app.RoleAPI))
	token, _ := s.device(s.facility("one"))
	client := &http.Transport{MaxIdleConnsPerHost: 64}
	b.SetParallelism(16)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := client.RoundTrip(s.request(http.MethodGet, "/api/v1/results?since=c1.0", token, "", nil))
			if err != nil {
				b.Error(err)
				return
			}
			_ = resp.Body.Close()
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "polls/s")
}

// BenchmarkEndToEnd measures images from upload to visible result with the shipped blood model and real photographs.
func BenchmarkEndToEnd(b *testing.B) {
	cfg := app.Default()
	cfg.Data = b.TempDir()
	s := openSite(b, cfg)
	if _, err := s.in.AddModel(b.Context(), "", "../../models/blood-smear"); err != nil {
		b.Fatal(err)
	}
	s.stop()
	s = openSite(b, cfg)
	token, _ := s.device(s.facility("one"))
	var n atomic.Int64
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			s.submit(token, specimen(fmt.Sprintf("S%d", i)), image("a.jpg", bloodImage(b, int(i))))
		}
	})
	for waiting := true; waiting; {
		p, err := s.in.Store.Progress(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		waiting = p["received"]+p["claimed"] > 0
		<-time.After(5 * time.Millisecond)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "images/s")
}
