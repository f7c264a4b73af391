"""FreiHAND v2 (Zimmermann et al., ICCV 2019)."""
