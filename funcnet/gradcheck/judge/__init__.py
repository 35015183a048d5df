"""The judgement: form, reference, comparison, laws, kinks, doubts, arithmetic, adequacy."""
