package main

func (d *deployment) explainFindings() {}
