"""What comes with an image so that others can trust it: what is in it, how it was made, and who says so.

An SBOM (CycloneDX 1.6) and a provenance (SLSA 1, in in-toto's statement) are pushed as referrers of the image (OCI
distribution specification 1.1), and a signature in the format of cosign, which cosign and skopeo verify too. All of it
is a pure function of the version's facts, but for a signature by a key that a KMS holds.
"""
