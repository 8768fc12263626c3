package predict_test

import (
	"context"
	"fmt"

	"kenkyo/internal/clinic/predict"
)

func ExampleModel_Predict() {
	session, decoder := &fakeSession{answer: oneBox}, &fakeDecoder{} // adapter/ort and adapter/pixels in the program
	m, err := predict.New(context.Background(), detectPackage(), session, decoder)
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := m.Predict(context.Background(), []byte("32x32"), 0, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range d.Findings {
		fmt.Printf("%s %.2f at %.0f,%.0f by %s\n", f.Label, f.Confidence, f.Box.X, f.Box.Y, d.ClassifiedBy())
	}
	// Output: RBC 0.50 at 12,12 by model:cells@0123456789ab
}
