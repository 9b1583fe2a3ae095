"""The two interfaces that people who work with audio embeddings know, over every encoder that boiler has: OpenL3's
(`boiler.embedding.openl3`) and HEAR's (`boiler.embedding.hear`)."""
