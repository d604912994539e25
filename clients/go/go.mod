// The generated client goes beside, as `delivery/`; Go's own library is all that both need.
module controller

go 1.21
