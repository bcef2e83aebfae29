// What Go's golang.org/x/crypto/ocsp makes of a responder: prints good, revoked, unknown, or "refused WHY".
// Arguments: the responder's URL, the CA's certificate, then certificates to check, one line for each; all in PEM.
package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"

	"golang.org/x/crypto/ocsp"
)

func main() {
	issuer := read(os.Args[2])
	for _, file := range os.Args[3:] {
		fmt.Println(check(os.Args[1], issuer, read(file)))
	}
}

func check(url string, issuer, certificate *x509.Certificate) string {
	request, err := ocsp.CreateRequest(certificate, issuer, nil)
	if err != nil {
		return "refused " + err.Error()
	}
	reply, err := http.Post(url, "application/ocsp-request", bytes.NewReader(request))
	if err != nil {
		return "refused " + err.Error()
	}
	defer reply.Body.Close()
	der, err := io.ReadAll(reply.Body)
	if err != nil {
		return "refused " + err.Error()
	}
	answer, err := ocsp.ParseResponseForCert(der, certificate, issuer)
	if err != nil {
		return "refused " + err.Error()
	}
	return map[int]string{ocsp.Good: "good", ocsp.Revoked: "revoked", ocsp.Unknown: "unknown"}[answer.Status]
}

func read(file string) *x509.Certificate {
	data, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	block, _ := pem.Decode(data)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		panic(err)
	}
	return certificate
}
