"""boiler's encoders behind two widely used interfaces for audio embeddings: OpenL3 (`boiler.embedding.openl3`) and HEAR
(`boiler.embedding.hear`)."""
