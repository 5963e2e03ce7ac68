// Package ocimport reads the predictions that OpenCompass left (outputs/NAME/TIME/predictions/MODEL/DATASET.json) and makes records of
// them, so that they can be scored without inference.
//
// An entry of such a file has a number and no name of its row, and OpenCompass leaves rows out of some datasets. So an entry is given to
// a row of ours only where its text shows that it is of that row; a row without such an entry is missing, with the reason.
package ocimport
