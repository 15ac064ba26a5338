package main

import (
	"strings"
	"testing"
	"time"
)

const events = `
{"Action":"start","Package":"platform-api-connector/shared/connector"}
{"Action":"run","Test":"TestEveryFailure"}
{"Action":"run","Test":"TestEveryFailure/youtube"}
{"Action":"attr","Test":"TestEveryFailure/youtube","Key":"faults","Value":"40"}
{"Action":"attr","Test":"TestEveryFailure/tiktok","Key":"faults","Value":"2"}
{"Action":"pass","Test":"TestEveryFailure/youtube","Elapsed":3}
{"Action":"pass","Test":"TestEveryFailure","Elapsed":5}
{"Action":"output","Test":"TestOutage","Output":"    outage_test.go:9: 3 connections are marked needs_reauth\n"}
{"Action":"pass","Test":"TestOutage/part","Elapsed":1}
{"Action":"fail","Test":"TestOutage","Elapsed":7}
`

func TestRead(t *testing.T) {
	all := proofs()
	var progress, printed strings.Builder
	read(strings.NewReader(events), all, &progress, func() time.Time { return time.Unix(0, 0) })
	if err := table(&printed, all); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"proved  TestEveryFailure", "42  faults", "FAILED  TestOutage", "FAILED  TestSimulation"} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("%q is not in the table:\n%s", want, printed.String())
		}
	}
	if want := "3 connections are marked needs_reauth"; !strings.Contains(progress.String(), want) {
		t.Errorf("the failure is not in the progress: %q", progress.String())
	}
}
