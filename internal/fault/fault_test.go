package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"kenkyo/internal/fault"
)

func TestKindsThroughLayers(t *testing.T) {
	t.Parallel()
	cause := fault.E("store.Read", fault.NotFound, io.EOF, fault.Field("since"), fault.RetryAfter(3*time.Second))
	outer := fault.E("result.Poll", fault.Internal, fmt.Errorf("page 2: %w", cause))
	if k := fault.KindOf(outer); k != fault.NotFound {
		t.Errorf("a layer that adds only its name: got kind %v, want that of the cause", k)
	}
	if f, r := fault.FieldOf(outer), fault.RetryAfterOf(outer); f != "since" || r != 3*time.Second {
		t.Errorf("got field %q and wait %v, want those of the cause", f, r)
	}
	if !errors.Is(outer, io.EOF) || fault.Message(outer) != "EOF" {
		t.Errorf("got message %q, want the innermost cause's", fault.Message(outer))
	}
	if k := fault.KindOf(fault.E("x", fault.Unavailable, cause)); k != fault.Unavailable {
		t.Errorf("a layer that decides anew: got kind %v, want its own", k)
	}
	if fault.KindOf(io.EOF) != fault.Internal || fault.Is(io.EOF, fault.Internal) || fault.FieldOf(io.EOF) != "" {
		t.Error("an error without a kind must count as internal and carry nothing")
	}
}

func ExampleE() {
	err := fault.E("intake.Accept", fault.Invalid, errors.New("is missing"), fault.Field("specimen_id"))
	fmt.Println(err, "/", fault.KindOf(err), "/", fault.FieldOf(err))
	// Output: intake.Accept: is missing / invalid / specimen_id
}
