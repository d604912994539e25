// The driver of the generated Go client, which the suite puts beside it as `delivery/`; Go's own library is all it needs.
module driver

go 1.21
