package awslocal

import (
	"fmt"
	"net/http"
	"net/url"
)

// serveSTS answers GetCallerIdentity, which command lines call to check for an AWS.
// STS is the only service here that uses the query protocol.
func serveSTS(w http.ResponseWriter, r *http.Request, body []byte) {
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("Action") != "GetCallerIdentity" {
		what := form.Get("Action")
		if what == "" {
			what = r.Method + " " + r.URL.Path
		}
		writeError(w, "application/json", unknownOperation(what))
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">`+
		`<GetCallerIdentityResult><Arn>arn:aws:iam::%[1]s:root</Arn><UserId>%[1]s</UserId><Account>%[1]s</Account></GetCallerIdentityResult>`+
		`<ResponseMetadata><RequestId>00000000-0000-4000-8000-000000000000</RequestId></ResponseMetadata>`+
		`</GetCallerIdentityResponse>`, accountID)
}
